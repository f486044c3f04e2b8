"""Ctrl-C ends a command with the line "interrupted" and exit code 130, at any time.

During a command's imports and during the shutdown of the interpreter there is nothing to clean up,
and Python would print a traceback: there Ctrl-C ends the process at once. In between it raises
KeyboardInterrupt as usual.

Commands import this module first, so it imports nothing slow.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
AGAIN_SECONDS = 0.05

_has_told = False


def leave_at_once() -> None:
    """Let Ctrl-C end the process at once from now on, unless SIGINT is ignored (nohup)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def tell() -> None:
    """Print "interrupted" on stderr, in the first call only."""
    global _has_told
    if not _has_told:
        _has_told = True
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")


@contextmanager
def raised() -> Iterator[None]:
    """Within the block, Ctrl-C raises KeyboardInterrupt instead of ending the process at once.

    Raises:
        KeyboardInterrupt: also in place of another exception after Ctrl-C, since a library that is
            interrupted may raise an error of its own.
    """
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    asked = False

    def ask(_signum: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask)
    before, sys.unraisablehook = sys.unraisablehook, _ask_again
    try:
        yield
    except Exception as error:
        if asked:
            raise KeyboardInterrupt from error
        raise
    finally:
        # After a Ctrl-C inside exec() (dataclasses use it) CPython marks the interrupt as unhandled
        # and would end the process by SIGINT; another exec() clears the mark.
        exec("")
        sys.unraisablehook = before
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes started within the block ignore Ctrl-C, which a terminal sends to all processes in
    its foreground: each would print a traceback. Their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat Ctrl-C a moment later if it came where Python cannot raise exceptions (in a finalizer
    or a weak reference's callback) and would only be printed."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # From a thread: a signal sent here would be raised in the same callback.
    again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _leave(_signum: int, _frame: FrameType | None) -> None:
    tell()
    os._exit(EXIT_INTERRUPTED)
