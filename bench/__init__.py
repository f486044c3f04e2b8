"""The engine: files are commands (``python -m bench.VERB``), folders are the library."""

import sys

# As long as `python -m MODULE` looks for its module, argv[0] is "-m". The imports of a command take
# seconds, in which Ctrl-C shall end it without a traceback; a library's import changes nothing.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].removeprefix("-m").startswith("bench"):
    from bench.core.interrupt import leave_at_once

    leave_at_once()
