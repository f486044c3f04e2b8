"""What is counted of a variant, by itself."""

import pytest

from bench.core.config import updated
from bench.costs.measure import _arithmetic
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
