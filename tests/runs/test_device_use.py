"""What the devices of a run did, with an NVML that has no GPU behind it."""

import pytest

from bench.core import nvml
from bench.runs import device_use
from bench.runs.device_use import DeviceUse, gpu_facts, gpus_of_run
from tests.fake_nvml import FakeGpu, FakeNvml


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b"))
    monkeypatch.setattr(nvml, "library", lambda: fake)
    monkeypatch.setenv(device_use.ENABLED, "true")
    return fake


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_facts_are_of_the_gpus_that_the_run_has(
    fake: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    assert gpu_facts(gpus_of_run("cuda", 1)) == {
        "gpu_0.name": "NVIDIA H200", "gpu_0.uuid": "GPU-b", "gpu_0.memory_mib": "131072",
        "gpu_0.power_limit_watts": "700", "gpu_0.max_sm_clock_mhz": "1980",
        "gpu_0.max_memory_clock_mhz": "1980",
    }  # fmt: skip
    both = gpu_facts(gpus_of_run("cuda", 2))
    assert [both[f"gpu_{number}.uuid"] for number in range(2)] == ["GPU-b", "GPU-a"]
    assert gpus_of_run("cpu", 2) == []
    fake.gpus[1].lacks = {"nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetName"}
    assert not {"gpu_0.name", "gpu_0.power_limit_watts"} & set(gpu_facts(gpus_of_run("cuda", 1)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_facts(gpus_of_run("cuda", 1))["gpu_0.uuid"] == "GPU-b", "numbers are NVML's"
    assert nvml.gpus(["GPU-c"]) == nvml.gpus(["7"]) == []


def test_samples_come_with_the_log_points_but_not_with_each(fake: FakeNvml) -> None:
    clock = Clock()
    use = DeviceUse(nvml.gpus(["0", "1"]), clock)
    asked = fake.num_questions
    clock.now += device_use.SECONDS - 1
    assert use.due() == {}
    assert fake.num_questions == asked, "between samples nothing is asked"
    clock.now += 1
    fake.gpus[0].energy_millijoules += 3_000_000
    fake.gpus[1].lacks.add("nvmlDeviceGetTotalEnergyConsumption")
    found = use.due()
    assert found["system/gpu_0_power_usage_watts"] == pytest.approx(300), "mean of ten seconds"
    assert found["system/gpu_1_power_usage_watts"] == pytest.approx(250), "of the moment"
    assert found["system/gpu_0_utilization_percentage"] == pytest.approx(40)
    assert found["system/gpu_0_memory_usage_megabytes"] == pytest.approx(3221.225472)
    assert {"system/cpu_utilization_percentage", "system/process_memory_usage_megabytes"} <= set(
        found
    )
    assert use.due() == {}


def test_a_summary_has_energy_memory_and_clocks(fake: FakeNvml) -> None:
    clock = Clock()
    use = DeviceUse(nvml.gpus(["0", "1"]), clock)
    fake.gpus[0].clock_mhz, fake.gpus[1].memory_bytes = 1800, 2**30
    fake.gpus[0].energy_millijoules += 4_000_000
    fake.gpus[1].energy_millijoules += 2_000_000
    clock.now += 20
    assert use.summary(100.0) == {
        "gpu_power_watts": pytest.approx(300),
        "gpu_energy_joules": pytest.approx(30_000),
        "gpu_memory_bytes": pytest.approx(6 * 2**30),
        "gpu_sm_clock_mhz": pytest.approx((3 * 1200 + 1800) / 4),
    }
    fake.gpus[1].lacks.add("nvmlDeviceGetTotalEnergyConsumption")
    assert "gpu_energy_joules" not in use.summary(100.0), "half of the energy is none"
    assert DeviceUse().summary(100.0) == {}


def test_it_can_be_switched_off_and_sampled_more_often(
    fake: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device_use.INTERVAL, "0.5")
    clock = Clock()
    use = DeviceUse((), clock)
    clock.now += 0.5
    assert "system/system_memory_usage_percentage" in use.due()
    monkeypatch.setenv(device_use.ENABLED, "false")
    off = DeviceUse((), clock)
    clock.now += 1000
    assert off.due() == {}


def test_without_package_or_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "library", lambda: None)
    assert nvml.gpus(["0"]) == []
