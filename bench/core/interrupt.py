"""Ctrl-C ends a command in one word and with exit code 130, whenever it comes.

While a command imports what it needs, and again while Python takes its leave, nothing is under way
that needs an orderly end, and Python would print a traceback of whatever it was at: there Ctrl-C
ends the process at once. In between it raises KeyboardInterrupt, as Python has it.

Imports nothing that takes time: it is the first that a command imports.
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
    """From here on Ctrl-C ends the process at once, unless it is ignored (nohup)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def tell() -> None:
    """Say that the command was interrupted, once however often that is asked for."""
    global _has_told
    if not _has_told:
        _has_told = True
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")


@contextmanager
def raised() -> Iterator[None]:
    """Within, Ctrl-C raises KeyboardInterrupt also where it otherwise ends the process at once.

    Raises:
        KeyboardInterrupt: also for an error that comes after Ctrl-C: some library was in mid-call,
            and failed in its own way.
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
    """A process that is started within never hears Ctrl-C, which a terminal sends to all: it would
    print where it was. Who started it ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Where Python can raise nothing (a finalizer, a weak reference's callback), Ctrl-C would be
    printed and forgotten: it comes again a moment later."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # From a thread: from here it would be as vain.
    again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _leave(_signum: int, _frame: FrameType | None) -> None:
    tell()
    os._exit(EXIT_INTERRUPTED)
