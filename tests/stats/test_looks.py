"""Planned looks: nominal levels by simulation and from books, and that decisions are final."""

import numpy as np
import pytest
from scipy.special import ndtri

from bench.stats.looks import DIFFERENT, EQUIVALENT, OPEN, SPENDING, Decisions, Plan, decide
from bench.stats.variance import estimate_systems

WORDS = np.full(12, 150.0)
NO_CLAIMS = np.zeros(3, dtype=bool)


@pytest.mark.parametrize("spending", SPENDING)
@pytest.mark.parametrize("alpha", [0.05, 0.004])
def test_all_looks_together_err_as_often_as_one(spending: str, alpha: float) -> None:
    plan = Plan(spending=spending)
    steps = np.diff([0, *plan.looks])
    walk = np.random.default_rng(0).standard_normal((200_000, steps.size)) * np.sqrt(steps)
    z = np.cumsum(walk, axis=1) / np.sqrt(plan.looks)
    levels = np.array([plan.nominal(k, np.array(alpha)) for k in range(steps.size)])
    crossed = (np.abs(z) > -ndtri(levels / 2)).any(axis=1).mean()
    assert crossed == pytest.approx(alpha, abs=3 * np.sqrt(alpha / 200_000))


def test_five_even_looks_have_the_boundaries_of_the_books() -> None:
    """Lan & DeMets with O'Brien-Fleming's spending at 5 %: 4.88, 3.36, 2.68, 2.29, 2.03."""
    plan = Plan(looks=(4, 8, 12, 16, 20), spending="obrien-fleming")
    z = [-ndtri(plan.nominal(k, np.array(0.05)) / 2) for k in range(5)]
    assert z == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.01)


def test_a_single_look_is_no_plan_at_all() -> None:
    plan = Plan(looks=(5,))
    for alpha in (0.05, 0.01, 0.0003):
        assert plan.nominal(0, np.array(alpha)) == pytest.approx(alpha)
        assert plan.alpha_for(0, np.array(alpha)) == pytest.approx(alpha)


@pytest.mark.parametrize("spending", SPENDING)
def test_levels_rise_with_alpha_and_turn_back(spending: str) -> None:
    plan, alphas = Plan(spending=spending), np.geomspace(1e-5, 0.5, 50)
    for look in range(len(plan.looks)):
        levels = plan.nominal(look, alphas)
        assert (np.diff(levels) > 0).all()
        known = levels > 1e-12
        assert plan.alpha_for(look, levels[known]) == pytest.approx(alphas[known], rel=1e-6)
    assert plan.alpha_for(1, np.array([0.99, np.nan]))[0] == 1
    assert np.isnan(plan.alpha_for(1, np.array([np.nan]))[0])


def study(rates: list[float], num_seeds: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    per_run = np.array(rates)[:, None] + rng.normal(0, 0.02, (len(rates), 20))
    errors = rng.poisson(np.maximum(0.01, per_run[..., None]) * WORDS)
    return list(errors[:, :num_seeds].astype(float))


def look(
    errors: list[np.ndarray], plan: Plan, before: Decisions | None, margin: float = 0.02
) -> Decisions:
    systems = estimate_systems(errors, WORDS, np.random.default_rng(0))
    return decide(systems, plan, before, NO_CLAIMS, margin)


def test_a_decision_is_final_and_its_systems_stop() -> None:
    plan = Plan()
    first = look(study([0.2, 0.2, 0.6], 3), plan, None)
    assert first.outcome.tolist() == [OPEN, DIFFERENT, DIFFERENT]
    assert first.open_systems(3).tolist() == [True, True, False]
    # Whatever the next look shows of them.
    second = look(study([0.2, 0.2, 0.2], 5, seed=1), plan, first)
    assert second.outcome.tolist()[1:] == [DIFFERENT, DIFFERENT]
    assert second.decided_at.tolist() == [1, 0, 0]
    assert (second.delta[1:] == first.delta[1:]).all()
    assert (second.half_width[1:] == first.half_width[1:]).all()
    assert (np.abs(second.delta[1:]) > second.half_width[1:]).all()
    assert second.look == 2


def test_equal_systems_end_as_equivalent_and_leave_their_level_to_none() -> None:
    plan, state = Plan(), None
    for num in plan.looks:
        state = look(study([0.2, 0.2, 0.2], num, seed=2), plan, state, margin=0.08)
    assert state is not None
    assert state.outcome.tolist() == [EQUIVALENT] * 3
    assert (np.abs(state.delta) + state.half_width < 0.08).all()
    assert not state.open_systems(3).any()
    assert (state.p_adjusted > 0.05).all()


@pytest.mark.parametrize("looks", [(), (5, 3), (1, 3), (3, 3)])
def test_looks_rise_from_two(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks are rising numbers of seeds, two at least"):
        Plan(looks=looks)


def test_an_unknown_spending_function_is_named() -> None:
    with pytest.raises(ValueError, match="one of pocock, obrien-fleming, linear, got 'all'"):
        Plan(spending="all")
