"""The benchmark: files are commands (``python -m bench.VERB``), folders are the library.

From Python: ``from bench import Study``.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.results.study import Study

__all__ = ["Study"]


def __getattr__(name: str) -> object:
    """`Study`, imported when it is asked for: it brings torch and pandas."""
    if name == "Study":
        from bench.results.study import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# The imports of a command take seconds, during which Ctrl-C should end it without a traceback.
# argv[0] is "-m" only while `python -m MODULE` locates its module, so that importing `bench` as a
# library does not change how signals are handled.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].removeprefix("-m").startswith("bench"):
    from bench.core.interrupt import leave_at_once

    leave_at_once()
