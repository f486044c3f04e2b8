"""What is counted of a variant, by itself."""

import pytest
import torch

from bench.core.config import updated
from bench.costs import measure
from bench.costs.measure import Effort, _arithmetic, _workers
from bench.costs.workers import Job, Workers
from bench.data.utterance import Corpus
from bench.training.config import build_model
from bench.training.loop import TrainingData
from tests.costs.conftest import CPU, Configure


def test_two_views_are_twice_the_work_for_the_same_audio(
    tiny: Configure, data: TrainingData
) -> None:
    plain = tiny()
    twice = updated(plain, {"training.consistency_weight": 0.2})
    one, two = (
        _arithmetic(config, build_model(config), data, 100.0, 1e12, CPU)
        for config in (plain, twice)
    )
    for name in ("training_macs_per_second_of_audio", "fraction_of_matmul_peak"):
        assert two[name] == pytest.approx(2 * one[name])
    assert two["macs_per_second_of_audio"] == one["macs_per_second_of_audio"]


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
    begun = []

    def train_at_once(job: Job, count: int) -> Workers:
        begun.append((count, job.num_threads))
        return Workers(audio_seconds_per_second=30.0 * count, peak_memory_bytes=5)

    monkeypatch.setattr(measure, "train_at_once", train_at_once)
    monkeypatch.setattr(measure, "num_cores", lambda: num_cores)
    effort = Effort(minutes=1.0, turn_seconds=1.0, num_rounds=1)
    found = _workers(tiny(), tone_corpus, effort, torch.device(device))
    assert begun == expected
    count = expected[0][0]
    assert found["workers_ratio"] == (count if count > 1 else None)
    assert (found["num_workers"], found["peak_memory_bytes"]) == (count, 5)
