"""NVML without a GPU: a module of functions, as pynvml has them, over a dict for each device."""

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any


class FakeError(Exception):
    """In place of pynvml.NVMLError."""


@dataclass
class FakeGpu:
    uuid: str
    lacks: set[str] = field(default_factory=set)
    """Questions that it does not answer."""
    energy_millijoules: float = 5e6
    clock_mhz: int = 1200
    memory_bytes: int = 3 * 2**30


class FakeNvml(ModuleType):
    """`gpus` in the order of PCI buses."""

    NVMLError = FakeError
    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    def __init__(self, *gpus: FakeGpu) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.num_questions = 0

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        if index >= len(self.gpus):
            raise FakeError("Invalid Argument")
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:  # noqa: N802
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise FakeError("Not Found")

    def __getattr__(self, question: str) -> Any:
        if not question.startswith("nvmlDeviceGet"):
            raise AttributeError(question)

        def ask(gpu: FakeGpu, *_: int) -> Any:
            self.num_questions += 1
            if question in gpu.lacks:
                raise FakeError("Not Supported")
            return {
                "nvmlDeviceGetName": "NVIDIA H200",
                "nvmlDeviceGetUUID": gpu.uuid,
                "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=2**37, used=gpu.memory_bytes),
                "nvmlDeviceGetEnforcedPowerLimit": 700_000,
                "nvmlDeviceGetMaxClockInfo": 1980,
                "nvmlDeviceGetTotalEnergyConsumption": gpu.energy_millijoules,
                "nvmlDeviceGetPowerUsage": 250_000,
                "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
                "nvmlDeviceGetClockInfo": gpu.clock_mhz,
            }[question]

        return ask
