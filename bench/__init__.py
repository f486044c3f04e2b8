"""The benchmark: files are commands (``python -m bench.VERB``), folders are the library."""

import sys

# The imports of a command take seconds, during which Ctrl-C should end it without a traceback.
# argv[0] is "-m" only while `python -m MODULE` locates its module, so that importing `bench` as a
# library does not change how signals are handled.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].removeprefix("-m").startswith("bench"):
    from bench.core.interrupt import leave_at_once

    leave_at_once()
