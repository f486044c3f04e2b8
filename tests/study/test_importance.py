"""Which setting matters, of those of a made-up search whose answer is known."""

import random

import pytest

from bench.study.importance import MIN_TRIALS, importances
from bench.study.space import Dimension

SEARCHED = {
    "idle": Dimension(choices=(40, 64, 80), default=64),
    "minor": Dimension(low=1, high=9, default=3),
    "rate": Dimension(low=1e-4, high=1e-1, log=True, default=1e-3),
}


def trials(number: int) -> list[tuple[dict[str, float], float]]:
    """Settings drawn at random; almost all of the objective comes from `rate`."""
    rng, found = random.Random(5), []
    for _ in range(number):
        params = {
            "idle": rng.choice([40, 64, 80]),
            "minor": rng.randint(1, 9),
            "rate": 10 ** rng.uniform(-4, -1),
        }
        found.append((params, abs(params["rate"] - 0.003) + 1e-4 * params["minor"]))
    return found


def test_the_setting_that_decides_has_most_of_the_importance() -> None:
    found = importances(SEARCHED, trials(60))
    assert list(found) == list(SEARCHED)
    assert found["rate"] > 0.8
    assert sum(found.values()) == pytest.approx(1)
    assert importances(SEARCHED, trials(60)) == found


def test_too_few_trials_tell_nothing() -> None:
    assert importances(SEARCHED, trials(MIN_TRIALS - 1)) == {}
    assert importances({}, trials(20)) == {}


def test_trials_that_all_did_alike_tell_nothing() -> None:
    assert importances(SEARCHED, [(params, 0.5) for params, _ in trials(20)]) == {}


def test_a_trial_without_every_setting_does_not_count() -> None:
    lacking = [({"rate": 1e-3}, 0.1)] * 20
    assert importances(SEARCHED, lacking) == {}
    assert importances(SEARCHED, trials(30) + lacking) == importances(SEARCHED, trials(30))
