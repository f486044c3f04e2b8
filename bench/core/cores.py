"""How many cores this process may use, a map that uses them, and torch's share of them.

Threads suffice for work that releases the global interpreter lock: decoding, hashing, the FFT.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def num_cores() -> int:
    """Number of cores that this process may use, at least 1: the minimum of its CPU affinity and
    the CPU quota of its container (``docker run --cpus``, a Kubernetes limit)."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return max(1, int(min(len(os.sched_getaffinity(0)), _quota())))


def _quota() -> float:
    """CPU seconds per second that the control group and its parents allow (cgroup v2); inf without
    a limit."""
    least = float("inf")
    for folder in own_cgroups():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):  # the outermost group has no such file
            quota, period = "max", "1"
        if quota != "max":
            least = min(least, int(quota) / int(period))
    return least


def own_cgroups() -> Iterator[Path]:
    """The folders of this process's control group and its parents (cgroup v2), from the inside
    out; none without such groups."""
    try:
        (own,) = (line for line in OWN_CGROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, ValueError):
        return
    folder = CGROUPS / own.removeprefix("0::").strip("/")
    while folder.is_relative_to(CGROUPS):
        yield folder
        folder = folder.parent


def ordered_map(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` with one thread per core, in order, with a bounded number of pending results."""
    num_threads = num_cores()
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                # Results wait for their turn; with a bound, a slow first item does not let the
                # memory grow.
                if len(pending) >= 4 * num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Within the block an operation of torch is divided among `num_threads` threads."""
    import torch  # here, since the import takes seconds and not every command needs it

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
