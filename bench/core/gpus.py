"""The GPUs of this machine, by names that mean the same in every process."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile

from bench.core.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
UUID_PREFIXES = ("GPU-", "MIG-")


def choose(gpus: Sequence[str]) -> list[str]:
    """`gpus`, numbers among those that we may see or UUIDs, as UUIDs; all that we may see if empty.

    A scheduler sets CUDA_VISIBLE_DEVICES to those that are ours, so 0 is not always the machine's
    first. UUIDs, so that two launchers which name a GPU differently take the same locks. Without
    nvidia-smi the numbers stay.

    Raises:
        UserError: one is not there, or named twice.
    """
    uuids = machine_uuids()
    visible = [_uuid(name, uuids) for name in _visible()]
    names: list[str] = []
    for gpu in gpus or [str(number) for number in range(len(visible))]:
        if gpu.isdecimal() and int(gpu) < len(visible):
            name = visible[int(gpu)]
        elif not gpu.isdecimal() and _uuid(gpu, uuids) in visible:
            name = _uuid(gpu, uuids)
        else:
            raise UserError(
                f"--gpus are numbers from 0 to {len(visible) - 1} on this machine, got {gpu}; "
                "nvidia-smi lists them, and CUDA_VISIBLE_DEVICES may show fewer"
            )
        if name in names:
            raise UserError(
                f"--gpus names each GPU once, got {gpu} twice; --per-gpu N has N workers share it"
            )
        names.append(name)
    return names


def groups_of(gpus: Sequence[str], size: int) -> list[str]:
    """`gpus` in groups of `size` for one run each, as CUDA_VISIBLE_DEVICES names several; the rest
    that makes no group is left out.

    Raises:
        UserError: there is not one group.
    """
    if len(gpus) < size:
        raise UserError(
            f"--gpus-per-run {size} needs {size} GPUs on this machine, got {len(gpus)}; lower it, "
            "or show more of them by --gpus and CUDA_VISIBLE_DEVICES"
        )
    starts = range(0, len(gpus) - size + 1, size)
    return [",".join(gpus[start : start + size]) for start in starts]


def environment_of(gpu: str) -> dict[str, str]:
    """What makes a process see `gpu` alone, or a group. Numbers are counted as nvidia-smi counts
    them, by PCI bus; CUDA's default is the fastest first."""
    return {VISIBLE: gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def machine_uuids() -> Mapping[str, str]:
    """UUIDs by number, of all GPUs of the machine; empty without nvidia-smi."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.partition(",") for line in done.stdout.splitlines())
    return {index.strip(): uuid.strip() for index, _, uuid in rows if uuid}


def _visible() -> list[str]:
    """The GPUs that we may see, as CUDA_VISIBLE_DEVICES names them."""
    shown = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    # CUDA hides the first name that is not valid, by custom -1, and all after it.
    shown = list(takewhile(lambda name: not name.startswith("-"), shown))
    if shown:
        return shown
    import torch  # here, since the import takes seconds

    return [str(number) for number in range(torch.cuda.device_count())]


def _uuid(name: str, uuids: Mapping[str, str]) -> str:
    """The UUID of a number, or of the beginning of a UUID as CUDA allows it; else `name`."""
    if name.startswith(UUID_PREFIXES):
        whole = [uuid for uuid in uuids.values() if uuid.startswith(name)]
        return whole[0] if len(whole) == 1 else name
    return uuids.get(name, name)
