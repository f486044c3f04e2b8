"""Processes that work for this one, each with a memory of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, resource_tracker
from typing import Any, Protocol, TypeVar

from bench.core.interrupt import kept_from_children

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
            resource_tracker.ensure_running()  # hears no Ctrl-C, but lets its caller hear it again
            with kept_from_children():
                return pool.submit(function, *args)  # begins the processes

        try:
            yield submit
        except BaseException:
            for child in set(active_children()) - others:
                child.terminate()
            raise
