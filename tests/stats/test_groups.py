"""Rates inside a group against outside: closed forms, and how often equal gains are told apart."""

import numpy as np
import pytest

from bench.stats.estimate import Estimate
from bench.stats.groups import contrasts
from bench.stats.variance import differences


def found(
    errors: list[np.ndarray], words: np.ndarray, of: np.ndarray, inside: np.ndarray
) -> Estimate:
    delta, splits = differences(contrasts(errors, words, of, inside))
    return Estimate(delta, [split.total for split in splits])


def test_two_groups_of_speakers_are_welchs_two_samples() -> None:
    """One run each: the contrast of the paired differences of two sets of speakers."""
    rng = np.random.default_rng(0)
    words, speakers = np.full(20, 100.0), np.array([f"s{n:02}" for n in range(20)])
    inside = np.arange(20) < 8
    a, b = (rng.integers(10, 40, (1, 20)).astype(float) for _ in range(2))
    estimate = found([a, b], words, speakers, inside)
    paired = (b - a)[0] / 100
    expected = paired[inside].mean() - paired[~inside].mean()
    variance = paired[inside].var(ddof=1) / 8 + paired[~inside].var(ddof=1) / 12
    assert estimate.value[0] == pytest.approx(expected)
    assert estimate.variances[0].variance[0] == pytest.approx(variance)
    assert estimate.variances[0].degrees_of_freedom[0] == pytest.approx(7), "of the smaller group"


def test_a_seed_that_is_better_everywhere_gives_no_contrast() -> None:
    rng = np.random.default_rng(1)
    words, speakers = np.full(40, 1000.0), np.repeat([f"s{n:02}" for n in range(10)], 4)
    inside = np.tile([True, False, False, True], 10)
    luck = np.array([[0.0], [50.0], [-50.0]])
    errors = [200 + luck + rng.integers(-3, 3, (3, 40)) for _ in range(2)]
    estimate = found([e.astype(float) for e in errors], words, speakers, inside)
    # Without the contrast, 5 points between seeds would swamp everything.
    assert estimate.half_width(0.05)[0] < 0.01


def test_a_group_of_one_speaker_has_no_interval() -> None:
    words, speakers = np.full(6, 10.0), np.array(["a", "a", "b", "b", "c", "c"])
    errors = [np.ones((2, 6)), np.arange(12.0).reshape(2, 6)]
    assert np.isnan(found(errors, words, speakers, speakers == "a").p()).all()


@pytest.mark.parametrize("within", [True, False], ids=["within speakers", "of speakers"])
def test_equal_gains_are_rejected_at_the_nominal_rate(within: bool) -> None:
    rng, wrong, num = np.random.default_rng(2), 0, 400
    speakers = np.repeat([f"s{n:02}" for n in range(14)], 6)
    inside = np.tile([True, False] * 3, 14) if within else np.arange(84) < 36
    for _ in range(num):
        words = rng.integers(20, 40, 84).astype(float)
        hard = np.repeat(rng.normal(0, 0.05, 14), 6) - 0.05 * inside
        errors = [
            rng.binomial(
                words.astype(int),
                np.clip(
                    0.3
                    + gap
                    + hard
                    + np.repeat(rng.normal(0, 0.03, 14), 6)
                    + rng.normal(0, 0.02, (3, 1)),
                    0,
                    1,
                ),
            ).astype(float)
            for gap in (0.0, 0.1)
        ]
        wrong += bool(found(errors, words, speakers, inside).p()[0] < 0.05)
    assert wrong / num <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / num)
    assert wrong / num > 0.01
