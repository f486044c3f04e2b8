"""A parallel map with threads, for work that releases the global interpreter lock (GIL)."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from bench.core.cores import num_cores

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` with one thread per core, in order, with a bounded number of pending results.

    Threads suffice for decoding, hashing and the FFT, which release the GIL.
    """
    num_threads = num_cores()
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 4 * num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
