"""What the devices of a run do while it trains: sampled with its log points, summed up at its end.

The names are those of MLflow's own system metrics, so that its page System metrics shows them. They
are part of the record, which is mirrored as all else of it is; MLflow's sampling thread, which
needs the server, is not used. A sample takes a fraction of a millisecond, one in ten seconds.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from bench.core import nvml
from bench.core.gpus import choose
from bench.core.nvml import Gpu, Reading

SECONDS = 10.0
"""Between samples, at least."""
ENABLED = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
"""MLflow's variables, with their meaning there; enabled is the default here."""


@dataclass(frozen=True)
class _Sample:
    at: float
    readings: Sequence[Reading]


class DeviceUse:
    """Samples the machine and the GPUs of one run, from when it is made."""

    def __init__(
        self, gpus: Sequence[Gpu] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gpus, self._clock = gpus, clock
        self._is_on = os.environ.get(ENABLED, "true").lower() not in ("0", "false")
        self._interval = _interval()
        self._process = psutil.Process()
        self._clocks: list[float] = []
        self._most_memory = 0.0
        psutil.cpu_percent()  # the next call tells of the time since this one
        self._first = self._last = self._sample()

    def due(self) -> dict[str, float]:
        """Metrics of this moment, and of the time since the last ones; empty before the next
        sample is due."""
        if not self._is_on or self._clock() - self._last.at < self._interval:
            return {}
        before, self._last = self._last, self._sample()
        memory = psutil.virtual_memory()
        found: dict[str, float | None] = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_usage_megabytes": self._process.memory_info().rss / 1e6,
        }
        for number, (then, now) in enumerate(
            zip(before.readings, self._last.readings, strict=True)
        ):
            watts = _mean_watts(then, now, self._last.at - before.at)
            shown = {
                "utilization_percentage": _scaled(now.busy_share, 100),
                "memory_usage_megabytes": _scaled(now.memory_bytes, 1e-6),
                "power_usage_watts": now.power_watts if watts is None else watts,
                "sm_clock_mhz": now.sm_clock_mhz,
            }
            found |= {f"gpu_{number}_{name}": value for name, value in shown.items()}
        return {f"system/{name}": value for name, value in found.items() if value is not None}

    def summary(self, seconds: float) -> dict[str, float]:
        """Of the GPUs together: mean power since this began, and the energy of `seconds` at that
        power, those before a resume included; the most memory and the mean clock of the samples.
        Empty without GPUs. What other processes do on a shared GPU is included."""
        last = self._sample()
        each = [
            _mean_watts(then, now, last.at - self._first.at)
            for then, now in zip(self._first.readings, last.readings, strict=True)
        ]
        watts = [value for value in each if value is not None]
        found: dict[str, float] = {}
        # Of all or of none: a sum over some of the GPUs would say too little.
        if watts and len(watts) == len(each):
            found |= {"gpu_power_watts": sum(watts), "gpu_energy_joules": sum(watts) * seconds}
        if self._most_memory:
            found["gpu_memory_bytes"] = self._most_memory
        if self._clocks:
            found["gpu_sm_clock_mhz"] = sum(self._clocks) / len(self._clocks)
        return found

    def _sample(self) -> _Sample:
        readings = [gpu.reading() for gpu in self._gpus]
        self._clocks += [r.sm_clock_mhz for r in readings if r.sm_clock_mhz is not None]
        in_use = sum(r.memory_bytes or 0.0 for r in readings)
        self._most_memory = max(self._most_memory, in_use)
        return _Sample(self._clock(), readings)


def gpus_of_run(device: str, num_ranks: int) -> Sequence[Gpu]:
    """The GPUs that a run of this process computes on, as far as NVML knows them."""
    return nvml.gpus(choose([])[:num_ranks]) if device == "cuda" else []


def gpu_facts(gpus: Sequence[Gpu]) -> Mapping[str, str]:
    """The facts of a run's GPUs for its record, flat."""
    return {
        f"gpu_{number}.{name}": value
        for number, gpu in enumerate(gpus)
        for name, value in gpu.facts().items()
    }


def _interval() -> float:
    try:
        return max(0.0, float(os.environ.get(INTERVAL, SECONDS)))
    except ValueError:
        return SECONDS


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _mean_watts(then: Reading, now: Reading, seconds: float) -> float | None:
    """From the energy counter: exact, where power is that of an instant."""
    if then.energy_joules is None or now.energy_joules is None or seconds <= 0:
        return None
    return (now.energy_joules - then.energy_joules) / seconds
