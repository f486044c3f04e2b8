"""Planned looks: nominal levels by simulation and from books, and that decisions are final."""

import numpy as np
import pytest
from scipy.special import ndtri

from bench.stats.component import Component
from bench.stats.estimate import Estimate
from bench.stats.looks import DIFFERENT, EQUIVALENT, OPEN, SPENDING, Decisions, Plan, decide
from bench.stats.variance import differences, estimate_systems

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
    errors: list[np.ndarray],
    plan: Plan,
    before: Decisions | None,
    margin: float = 0.02,
    claims_P: np.ndarray = NO_CLAIMS,
) -> Decisions:
    systems = estimate_systems(errors, WORDS, np.random.default_rng(0))
    delta, splits = differences(systems)
    estimate = Estimate(delta, [split.total for split in splits])
    return decide(estimate, np.array(systems.num_seeds), plan, before, claims_P, margin)


def test_a_decision_is_final_and_its_systems_stop() -> None:
    plan = Plan()
    first = look(study([0.2, 0.2, 0.6], 3), plan, None)
    assert first.outcome.tolist() == [OPEN, DIFFERENT, DIFFERENT]
    seeds = plan.next_seeds(np.array([3, 3, 3]), first, NO_CLAIMS)
    assert seeds.tolist() == [5, 5, 3]
    # Whatever the next look shows of them.
    again = study([0.2, 0.2, 0.2], 5, seed=1)
    second = look([*again[:2], again[2][:3]], plan, first)
    assert second.outcome.tolist()[1:] == [DIFFERENT, DIFFERENT]
    assert second.decided_at.tolist() == [1, 0, 0]
    assert (second.estimate.value[1:] == first.estimate.value[1:]).all()
    assert (second.half_width[1:] == first.half_width[1:]).all()
    assert (np.abs(second.estimate.value[1:]) > second.half_width[1:]).all()
    assert second.look == 2


def test_open_claims_have_the_next_seeds_and_other_pairs_follow() -> None:
    plan, claims = Plan(looks=(3, 5, 8)), np.array([True, False, False])
    state = look(study([0.2, 0.2, 0.2], 3), plan, None, claims_P=claims)
    seeds = plan.next_seeds(np.array([3, 3, 3]), state, claims)
    assert seeds.tolist() == [5, 5, 3], "of the claim only"
    errors = study([0.2, 0.2, 0.2], 8)
    for expected in ([8, 8, 3], [8, 8, 5], [8, 8, 8], [8, 8, 8]):
        runs = [own[:num] for own, num in zip(errors, seeds, strict=True)]
        state = look(runs, plan, state, claims_P=claims)
        seeds = plan.next_seeds(seeds, state, claims)
        assert seeds.tolist() == expected
    assert state.outcome.tolist() == [OPEN] * 3
    assert state.stage.tolist() == [2] * 3


def test_seeds_of_one_system_alone_are_no_further_look() -> None:
    """Else its pairs would be tested at each look of another pair, which spends no alpha."""
    plan, claims = Plan(), np.array([True, False, False])
    errors = study([0.2, 0.22, 0.3], 5)
    first = look([own[:3] for own in errors], plan, None, claims_P=claims)
    second = look([errors[0], errors[1], errors[2][:3]], plan, first, claims_P=claims)
    assert second.stage.tolist() == [1, 0, 0]
    assert second.estimate.value[0] != first.estimate.value[0]
    assert (second.estimate.value[1:] == first.estimate.value[1:]).all()


def test_alpha_that_a_claim_leaves_is_spent_on_the_data_of_the_last_stage() -> None:
    plan, claims = Plan(looks=(3, 5)), np.array([True, False, False])
    noise = Component(np.full(3, 1e-4), np.full(3, 1e-8 / 50))
    first = decide(
        Estimate(np.array([0.01, 0.029, 0.029]), [noise]), np.full(3, 3), plan, None, claims
    )
    assert first.outcome.tolist() == [OPEN] * 3
    # The claim is found; the others have no new runs, and a larger level.
    second = decide(
        Estimate(np.array([0.05, 0.0, 0.0]), [noise]), np.array([5, 5, 3]), plan, first, claims
    )
    assert second.outcome.tolist() == [DIFFERENT] * 3
    assert (second.level[1:] > first.level[1:]).all()
    assert (second.estimate.value[1:] == 0.029).all()


def test_equal_systems_end_as_equivalent_and_leave_their_level_to_none() -> None:
    plan, state = Plan(), None
    for num in plan.looks:
        state = look(study([0.2, 0.2, 0.2], num, seed=2), plan, state, margin=0.08)
    assert state is not None
    assert state.outcome.tolist() == [EQUIVALENT] * 3
    assert (np.abs(state.estimate.value) + state.half_width < 0.08).all()
    seeds = np.full(3, 20)
    assert (plan.next_seeds(seeds, state, NO_CLAIMS) == seeds).all()
    assert (state.p_adjusted > 0.05).all()


@pytest.mark.parametrize("looks", [(), (5, 3), (1, 3), (3, 3)])
def test_looks_rise_from_two(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks are rising numbers of seeds, from 2 on"):
        Plan(looks=looks)


def test_an_unknown_spending_function_is_named() -> None:
    with pytest.raises(ValueError, match="one of pocock, obrien-fleming, linear, got 'all'"):
        Plan(spending="all")
