"""Host memory: how much is available, and how to recognise that it ran out."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.core.cores import own_cgroups
from bench.core.errors import ExhaustedError, OutOfHostMemoryError, UserError

MIN_ADDRESS_SPACE = 4 << 30
"""Bytes; with less, loading the numeric libraries fails or never returns (OpenBLAS retries to map
its buffers for ever)."""

_SAYINGS = (
    "DefaultCPUAllocator: ",  # torch
    "std::bad_alloc",
    "failed to map segment",  # the dynamic loader
    "can't start new thread",  # Python: no room for its stack
)
_VMSTAT = Path("/proc/vmstat")


def is_out_of_memory(error: BaseException) -> bool:
    """True if `error` or one of its causes says that the host's memory ran out; not about a GPU's
    memory."""
    return any(
        isinstance(one, MemoryError | OutOfHostMemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError | ImportError) and _says_so(str(one)))
        for one in _chain(error)
    )


def as_exhausted(error: BaseException) -> ExhaustedError | None:
    """`error` as an ExhaustedError if it says that disk or memory ran out; else None."""
    if isinstance(error, ExhaustedError):
        return error
    return OutOfHostMemoryError(error) if is_out_of_memory(error) else None


def check_address_space() -> None:
    """Refuse a limit on the address space (``ulimit -v``) in which nothing can be loaded.

    Raises:
        UserError: the limit is below MIN_ADDRESS_SPACE.
    """
    limit = address_space_limit()
    if limit is not None and limit < MIN_ADDRESS_SPACE:
        raise UserError(
            f"the libraries need {MIN_ADDRESS_SPACE >> 10:,} kB of address space at least, and "
            f"ulimit -v allows {limit >> 10:,}; raise it, or limit the resident memory instead"
        )


def address_space_limit() -> int | None:
    """Bytes that ``ulimit -v`` allows this process; None: any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def available_bytes() -> int:
    """Bytes that this process can still allocate: the minimum over the machine, its control group
    and its address space."""
    found = [psutil.virtual_memory().available]
    limit = address_space_limit()
    if limit is not None:
        found.append(max(0, limit - psutil.Process().memory_info().vms))
    return int(min([*found, *_left_in_cgroups()]))


def num_killed() -> int:
    """The number of processes that the kernel has killed since boot because memory ran out; 0 if
    unknown."""
    try:
        counts = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))


def _says_so(message: str) -> bool:
    return any(saying in message for saying in _SAYINGS) or os.strerror(errno.ENOMEM) in message


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _left_in_cgroups() -> Iterator[int]:
    """Bytes that this process's control group and each of its parents (cgroup v2) can still
    allocate."""
    for folder in own_cgroups():
        try:
            allowed, used = ((folder / f"memory.{x}").read_text() for x in ("max", "current"))
            yield max(0, int(allowed) - int(used))
        except (OSError, ValueError):  # "max", or the outermost group, which has no such file
            pass
