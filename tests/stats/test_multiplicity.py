"""The step-down procedure against Holm, Shaffer by hand, and a search over all closed sets."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from bench.stats import multiplicity
from bench.stats.multiplicity import ALPHA, RESERVE, step_down

NONE = np.zeros(15, dtype=bool)
CLAIMS = np.isin(np.arange(15), [0, 6, 12])


def by_closure(p: np.ndarray, claims: np.ndarray, num_systems: int) -> np.ndarray:
    """Adjusted p from first principles: go through all labellings of systems by group."""
    pairs = list(combinations(range(num_systems), 2))
    truths = {
        tuple(groups[a] == groups[b] for a, b in pairs)
        for groups in product(range(num_systems), repeat=num_systems)
    }
    truths = {t for t in truths if any(t)}

    def share(truth: tuple[bool, ...], pair: int) -> float:
        own = [bool(claims[k]) == bool(claims[pair]) for k, equal in enumerate(truth) if equal]
        alone = all(own)
        part = 1.0 if alone else 1 - RESERVE if claims[pair] else RESERVE
        return part / sum(own)

    left, reached = set(range(len(pairs))), 0.0
    adjusted = np.ones(len(pairs))
    while left:
        ratios = {k: p[k] / min(share(t, k) for t in truths if t[k]) for k in left}
        first = min(ratios, key=lambda k: ratios[k])
        reached = max(reached, ratios[first])
        adjusted[first] = min(1.0, reached)
        left.remove(first)
        truths = {t for t in truths if not t[first]}
    return adjusted


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjustment as his paper has it."""
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.minimum(1.0, adjusted)


def test_three_systems_as_shaffer_has_them() -> None:
    found = step_down(np.array([0.001, 0.02, 0.03]), NONE[:3])
    # Once one pair differs, only one of the other two can be equal.
    assert found.p_adjusted == pytest.approx([0.003, 0.02, 0.03])
    assert found.level == pytest.approx([ALPHA / 3, ALPHA, ALPHA])


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))  # fmt: skip
def test_every_adjusted_p_follows_from_the_partitions(p: list[float], claims: list[bool]) -> None:
    found = step_down(np.array(p), np.array(claims))
    expected = by_closure(np.array(p), np.array(claims), 4)
    assert found.p_adjusted == pytest.approx(expected)
    # The pairs found different are those within their level.
    assert ((np.array(p) <= found.level) == (found.p_adjusted <= ALPHA)).all()


def test_logic_is_never_worse_than_holm() -> None:
    p = np.random.default_rng(0).random((200, 15)) ** 3
    by_holm = np.stack([holm(row) for row in p])
    found = step_down(p, NONE).p_adjusted
    assert (found <= by_holm + 1e-12).all()
    assert (found < by_holm - 1e-9).mean() > 0.3


def test_many_systems_are_adjusted_as_holm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.random.default_rng(0).random((20, 15)) ** 3
    monkeypatch.setattr(multiplicity, "MOST_PARTITIONED", 5)
    assert step_down(p, NONE).p_adjusted == pytest.approx(np.stack([holm(row) for row in p]))


def test_claims_come_first_and_leave_their_level_to_the_rest() -> None:
    p = np.full(15, 0.9)
    p[[0, 6, 12]] = 0.014, 0.02, 0.04
    p[1] = 0.004
    found = step_down(p, CLAIMS)
    share = (1 - RESERVE) * ALPHA
    assert found.level[[0, 6, 12]] == pytest.approx([share / 3, share / 2, share])
    assert (found.p_adjusted[CLAIMS] < ALPHA).all()
    # With the claims decided the others have all of alpha.
    assert found.level[1] > RESERVE * ALPHA
    # An undecided claim keeps it.
    p[12] = 0.5
    assert step_down(p, CLAIMS).level[1] < RESERVE * ALPHA / 3
    # Without claims nothing of this would have been found.
    assert (step_down(p, NONE).p_adjusted > ALPHA).all()


def test_an_unknown_p_counts_and_stays_unknown() -> None:
    p = np.array([0.01, np.nan, 0.9])
    found = step_down(p, NONE[:3])
    assert np.isnan(found.p_adjusted[1])
    assert found.p_adjusted[0] == pytest.approx(0.03)


def test_studies_at_once_are_as_one_by_one() -> None:
    p = np.random.default_rng(1).random((5, 15)) ** 4
    at_once = step_down(p, CLAIMS)
    for row, (adjusted, level) in zip(p, zip(*at_once.__dict__.values(), strict=True), strict=True):
        alone = step_down(row, CLAIMS)
        assert (alone.p_adjusted == adjusted).all()
        assert (alone.level == level).all()


@pytest.mark.parametrize("groups", [(0, 0, 0, 0, 0, 0), (0, 0, 1, 1, 2, 2), (0, 0, 0, 1, 1, 1), (0, 1, 2, 3, 4, 4)])  # fmt: skip
@pytest.mark.parametrize("claims", [NONE, CLAIMS], ids=["all pairs", "claims"])
def test_false_differences_are_rare_whichever_hypotheses_are_true(
    groups: tuple[int, ...], claims: np.ndarray
) -> None:
    """In the strong sense: p of systems that differ are tiny, or p are of no use at all."""
    rng = np.random.default_rng(2)
    a, b = np.triu_indices(6, 1)
    equal = np.array(groups)[a] == np.array(groups)[b]
    z = rng.standard_normal((4000, 6))
    p = 2 * ndtr(-np.abs(z[:, b] - z[:, a]) / np.sqrt(2))
    p = np.where(equal, p, 0.0)
    false = (step_down(p, claims).p_adjusted <= ALPHA) & equal
    rate = false.any(axis=1).mean()
    assert rate <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / 4000)
