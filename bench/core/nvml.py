"""What NVIDIA's driver says of GPUs, by NVML, where the package nvidia-ml-py is installed.

NVML needs no context on the device and costs microseconds a question. Every question may be one
that a GPU or its driver does not answer (a MIG slice has no power of its own): then the answer is
left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Of one moment; None is unknown. What other processes do on the GPU is included."""

    energy_joules: float | None
    """Since the driver was loaded (Volta and later); differences of two readings count."""
    power_watts: float | None
    busy_share: float | None
    """Share of the last moments (up to a second) in which a kernel ran."""
    memory_bytes: float | None
    sm_clock_mhz: float | None


class Gpu:
    """A GPU, or a MIG slice of one."""

    def __init__(self, nvml: ModuleType, handle: object) -> None:
        self._nvml, self._handle = nvml, handle

    def facts(self) -> Mapping[str, str]:
        """What does not change while a run lasts, without what is unknown."""
        megabytes = self._ask(lambda n, h: n.nvmlDeviceGetMemoryInfo(h).total / 2**20)
        watts = self._ask(lambda n, h: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000)
        clocks = {
            f"max_{name}_clock_mhz": self._clock("nvmlDeviceGetMaxClockInfo", kind)
            for name, kind in (("sm", "NVML_CLOCK_SM"), ("memory", "NVML_CLOCK_MEM"))
        }
        found = {
            "name": self._ask(lambda n, h: str(n.nvmlDeviceGetName(h))),
            "uuid": self._ask(lambda n, h: str(n.nvmlDeviceGetUUID(h))),
            "memory_mib": megabytes and f"{megabytes:.0f}",
            "power_limit_watts": watts and f"{watts:.0f}",
            **{name: clock and f"{clock:.0f}" for name, clock in clocks.items()},
        }
        return {key: value for key, value in found.items() if value}

    def reading(self) -> Reading:
        """What it does now."""
        return Reading(
            energy_joules=self._ask(lambda n, h: n.nvmlDeviceGetTotalEnergyConsumption(h) / 1000),
            power_watts=self._ask(lambda n, h: n.nvmlDeviceGetPowerUsage(h) / 1000),
            busy_share=self._ask(lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu / 100),
            memory_bytes=self._ask(lambda n, h: float(n.nvmlDeviceGetMemoryInfo(h).used)),
            sm_clock_mhz=self._clock("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
        )

    def _clock(self, question: str, kind: str) -> float | None:
        return self._ask(lambda n, h: float(getattr(n, question)(h, getattr(n, kind))))

    def _ask(self, question: Callable[[ModuleType, object], T]) -> T | None:
        try:
            return question(self._nvml, self._handle)
        except self._nvml.NVMLError:
            return None


def gpus(names: Sequence[str]) -> list[Gpu]:
    """The GPUs `names`, as bench.core.gpus calls them: numbers by PCI bus, or UUIDs. Empty without
    NVML, or if one of them is not there."""
    nvml = library()
    if nvml is None:
        return []
    try:
        return [Gpu(nvml, _handle(nvml, name)) for name in names]
    except nvml.NVMLError:
        return []


def _handle(nvml: ModuleType, name: str) -> object:
    if name.isdecimal():
        return cast(object, nvml.nvmlDeviceGetHandleByIndex(int(name)))
    return cast(object, nvml.nvmlDeviceGetHandleByUUID(name))


@cache
def library() -> ModuleType | None:
    """NVML's Python module, initialised; None without package or driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return cast(ModuleType, pynvml)
