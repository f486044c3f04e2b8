"""Processes that work for this one, each with a memory of its own."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

CONTEXT = get_context("spawn")
"""A forked process would share our memory, and our locks."""


class Submit(Protocol):
    """Let a process call a function; where, nobody can choose."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Arguments and result cross to another process and back."""


@contextmanager
def processes(count: int, prepare: Callable[..., None], *args: Any) -> Iterator[Submit]:
    """So many new ones, in each of which ``prepare(*args)`` is called first.

    They do not hear Ctrl-C, or each would print where it was; whatever ends the block ends them.
    """
    others = set(active_children())
    with ProcessPoolExecutor(count, CONTEXT, initializer=prepare, initargs=args) as pool:

        def submit(function: Callable[..., T], /, *args: Any) -> Future[T]:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return pool.submit(function, *args)  # begins the processes, which inherit the mask
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            yield submit
        except BaseException:
            for child in set(active_children()) - others:
                child.terminate()
            raise
