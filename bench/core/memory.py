"""Memory that runs out: how it is recognised, and how much there is."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.core.errors import ExhaustedError, OutOfHostMemoryError, UserError

MIN_ADDRESS_SPACE = 4 << 30
"""Bytes: below this, loading the numeric libraries fails, or does not return (OpenBLAS tries to map
its buffers for ever)."""

_SAYINGS = (
    "DefaultCPUAllocator: ",  # torch
    "std::bad_alloc",
    "failed to map segment",  # the dynamic loader
    "can't start new thread",  # Python: no room for its stack
)
_VMSTAT = Path("/proc/vmstat")
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """True if `error`, or what caused it, says that this process gets no more memory of the
    machine; of a GPU's memory it does not speak."""
    return any(
        isinstance(one, MemoryError | OutOfHostMemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError | ImportError) and _says_so(str(one)))
        for one in _chain(error)
    )


def as_exhausted(error: BaseException) -> ExhaustedError | None:
    """`error` if it says that disk or memory ran out, in the words for the user; else None."""
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
    """What this process may still take: of the machine, of its control group and of its address
    space, the least."""
    found = [psutil.virtual_memory().available]
    limit = address_space_limit()
    if limit is not None:
        found.append(max(0, limit - psutil.Process().memory_info().vms))
    return int(min([*found, *_left_in_cgroups()]))


def num_killed() -> int:
    """How many processes the kernel has killed for want of memory since the machine started; 0
    where the kernel does not say."""
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
    """Bytes that our control group and those around it (cgroup v2) may still take."""
    try:
        (own,) = (x for x in _OWN_CGROUP.read_text().splitlines() if x.startswith("0::"))
    except (OSError, ValueError):
        return
    folder = _CGROUPS / own.removeprefix("0::").strip("/")
    while folder.is_relative_to(_CGROUPS):
        try:
            allowed, used = ((folder / f"memory.{x}").read_text() for x in ("max", "current"))
            yield max(0, int(allowed) - int(used))
        except (OSError, ValueError):  # "max", or the outermost group, which has no such file
            pass
        folder = folder.parent
