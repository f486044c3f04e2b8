"""The figures of tests/simulation.py, held to what is promised of them.

pytest -m slow tests/stats/test_simulation.py
"""

import numpy as np
import pytest

from bench.stats.looks import Plan
from bench.stats.multiplicity import ALPHA
from tests.simulation.models import CLAIMS, MODELS, NO_CLAIMS, staircase
from tests.simulation.procedures import before, now, sequential, unplanned

ALL_EQUAL, PAIRS_EQUAL = np.zeros(6), np.array([0, 0, 0.05, 0.05, 0.1, 0.1])


def at_most(share: float, limit: float, num: int) -> bool:
    """Within two standard errors."""
    return share <= limit + 2 * np.sqrt(limit * (1 - limit) / num)


def test_a_small_simulation() -> None:
    model = MODELS["normal"]
    equal = now(model, 500, ALL_EQUAL, 5, CLAIMS)
    assert at_most(equal.false().any(axis=1).mean(), ALPHA, 500)
    assert not equal.contradicted().any()
    old = before(model, 500, staircase(0.05), 5)
    new = now(model, 500, staircase(0.05), 5, CLAIMS)
    assert old.power(0.05, CLAIMS) < 0.35
    assert new.power(0.05, CLAIMS) > 0.65


def test_a_small_simulation_of_looks() -> None:
    found = sequential(MODELS["normal"], 300, np.array([0.0, 0.1]), Plan(), NO_CLAIMS[:1])
    assert found.judged.power(0.1, NO_CLAIMS[:1] | True) > 0.97
    assert found.seeds.mean() < 7
    assert unplanned(MODELS["normal"], 300) > 0.08


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize("name", MODELS)
def test_errors_of_one_look(name: str, num_seeds: int) -> None:
    """Family-wise, for any and for some true hypotheses; and no verdict contradicts its interval
    in 12,500 studies a case."""
    num = 2500
    for shifts in (ALL_EQUAL, PAIRS_EQUAL):
        for claims in (NO_CLAIMS, CLAIMS):
            found = now(MODELS[name], num, shifts, num_seeds, claims)
            assert at_most(found.false().any(axis=1).mean(), ALPHA, num)
            assert not found.contradicted().any()
    edge = now(MODELS[name], num, 0.02 * np.arange(6.0), num_seeds, NO_CLAIMS)
    assert at_most(edge.falsely_equivalent().any(axis=1).mean(), ALPHA, num)
    found = now(MODELS[name], num, np.zeros(2), num_seeds, NO_CLAIMS[:1])
    assert at_most(found.false().mean(), ALPHA, num)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_errors_of_planned_looks(name: str) -> None:
    num, plan = 1500, Plan()
    for shifts, claims in (
        (np.zeros(2), NO_CLAIMS[:1]), (ALL_EQUAL, NO_CLAIMS), (ALL_EQUAL, CLAIMS),
        (PAIRS_EQUAL, NO_CLAIMS),
    ):  # fmt: skip
        found = sequential(MODELS[name], num, shifts, plan, claims).judged
        assert at_most(found.false().any(axis=1).mean(), ALPHA, num)
        assert not found.contradicted().any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "heavy", "uneven"])
def test_five_points_with_five_seeds_are_found(name: str) -> None:
    claimed = now(MODELS[name], 4000, staircase(0.05), 5, CLAIMS)
    assert claimed.power(0.05, CLAIMS) >= 0.70
    old = before(MODELS[name], 4000, staircase(0.05), 5)
    assert old.power(0.05, CLAIMS) < 0.45
    assert not claimed.contradicted().any()
