"""How many cores this process may use."""

import os
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def num_cores() -> int:
    """Cores that this process may use, at least one: those it may run on, but no more than what a
    container's share of time (``docker run --cpus``, Kubernetes' limit) comes to."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return max(1, int(min(len(os.sched_getaffinity(0)), _quota())))


def _quota() -> float:
    """CPU seconds a second by the control group and those around it (cgroup v2); inf if none is
    set."""
    least = float("inf")
    try:
        (own,) = (line for line in OWN_CGROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, ValueError):
        return least
    folder = CGROUPS / own.removeprefix("0::").strip("/")
    while folder.is_relative_to(CGROUPS):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):  # the outermost group has no such file
            quota, period = "max", "1"
        if quota != "max":
            least = min(least, int(quota) / int(period))
        folder = folder.parent
    return least
