"""The parts of a measurement that are computed from the configuration."""

from collections.abc import Mapping
from contextlib import nullcontext

import pytest
import torch

from bench.core import nvml
from bench.core.config import updated
from bench.costs import measure
from bench.costs.concurrency import ConcurrentTraining, TrainingJob
from bench.costs.measure import Effort, _arithmetic, _Subject, _workers, energy_counter
from bench.data.utterance import Corpus
from bench.training.config import build_model
from bench.training.loop import TrainingData
from tests.costs.conftest import CPU, Configure
from tests.fake_nvml import FakeGpu, FakeNvml


def test_two_views_are_twice_the_work_for_the_same_audio(
    tiny: Configure, data: TrainingData
) -> None:
    once = tiny()
    twice = updated(once, {"training.consistency_weight": 0.2})
    one, two = (
        _arithmetic(_Subject(config=config, model=build_model(config), data=data, device=CPU))
        for config in (once, twice)
    )
    assert two.training_macs_per_second == pytest.approx(2 * one.training_macs_per_second)
    assert two.macs_per_second == one.macs_per_second


@pytest.mark.parametrize(
    ("device", "num_cores", "expected"),
    [
        ("cpu", 6, [(6, 1), (1, 6)]),
        ("cpu", 1, [(1, 1)]),
        ("cuda", 16, [(4, 1), (1, 1)]),
        ("cuda", 2, [(2, 1), (1, 1)]),
    ],
)
def test_workers_share_the_cores_or_the_gpu(
    tiny: Configure,
    tone_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    num_cores: int,
    expected: list[tuple[int, int]],
) -> None:
    begun, shared = [], []
    monkeypatch.setattr(measure, "choose", lambda _: ["GPU-a", "GPU-b"])
    monkeypatch.setattr(measure.mps, "sharing", lambda gpus: nullcontext({"pipes": gpus[0]}))

    def train_concurrently(
        job: TrainingJob, count: int, variables: Mapping[str, str] | None = None
    ) -> ConcurrentTraining:
        begun.append((count, job.num_threads))
        shared.append(variables or {})
        return ConcurrentTraining(audio_seconds_per_second=30.0 * count, peak_memory_bytes=5)

    monkeypatch.setattr(measure, "train_concurrently", train_concurrently)
    monkeypatch.setattr(measure, "num_cores", lambda: num_cores)
    effort = Effort(minutes=1.0, slice_seconds=1.0, num_rounds=1)
    found = _workers(tiny(), tone_corpus, effort, torch.device(device))
    assert begun == expected
    assert shared == [{"pipes": "GPU-a"} if device == "cuda" else {}, {}][: len(begun)]
    assert found.is_by_mps == (device == "cuda")
    count = expected[0][0]
    assert found.ratio == (count if count > 1 else None)
    assert (found.count, found.together.peak_memory_bytes) == (count, 5)


def test_the_latency_floor_is_a_share_of_a_step(tiny: Configure, data: TrainingData) -> None:
    found = _arithmetic(_Subject(config=tiny(), model=build_model(tiny()), data=data, device=CPU))
    assert found.latency_floor_seconds is not None
    assert found.latency_floor_seconds > 0
    rate = found.batch_audio_seconds / found.latency_floor_seconds
    assert found.latency_share(rate) == pytest.approx(1), "a step that takes the floor's time"
    assert found.latency_share(rate / 4) == pytest.approx(0.25)


def test_energy_is_read_from_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", energy_millijoules=9e6))
    monkeypatch.setattr(nvml, "library", lambda: fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    read = energy_counter(torch.device("cuda"))
    assert read() == 9000
    fake.gpus[1].energy_millijoules += 1500
    assert read() == pytest.approx(9001.5)
    assert energy_counter(CPU)() is None
