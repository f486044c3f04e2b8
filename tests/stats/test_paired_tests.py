"""The tests against golden numbers and scipy."""

import warnings
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.results.pairs import SystemRuns
from bench.stats.paired_tests import mcnemar, rank, wilcoxon

# Demsar (2006), table 6: AUC of C4.5, +m, +cf, +m+cf on 14 data sets, as ranks.
DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5],
        [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5],
        [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
    ]
)  # fmt: skip


def test_golden_mcnemar(golden: list[SystemRuns]) -> None:
    right = {o.name: o.runs[0]["ref"].to_numpy() == o.runs[0]["hyp"].to_numpy() for o in golden}
    found = {pair: mcnemar(right[pair[0]], right[pair[1]]) for pair in combinations("abc", 2)}
    assert [(f.b, f.c) for f in found.values()] == [(16, 10), (15, 2), (12, 5)]
    assert [round(f.p, 4) for f in found.values()] == [0.3269, 0.0023, 0.1435]


def test_mcnemar_is_exact_above_twenty_discordant_pairs_too() -> None:
    right_a = np.repeat([True, False, True], [25, 20, 30])
    found = mcnemar(right_a, np.repeat([False, True, True], [25, 20, 30]))
    assert (found.b, found.c) == (25, 20)
    assert found.p == pytest.approx(0.5515, abs=5e-5)
    assert found.p == pytest.approx(stats.binomtest(20, 45).pvalue)
    assert mcnemar(right_a, right_a).p == 1


def test_golden_wilcoxon(golden: list[SystemRuns]) -> None:
    rates = []
    for outcome in golden:
        sums = outcome.runs[0].groupby("speaker").sum(numeric_only=True)
        errors = sums["substitutions"] + sums["deletions"] + sums["insertions"]
        rates.append((errors / sums["num_ref_words"]).to_numpy())
    found = [round(wilcoxon(a, b), 4) for a, b in combinations(rates, 2)]
    assert found == [0.0234, 0.0078, 0.0156]


def test_wilcoxon_of_speakers_without_a_difference() -> None:
    rates = np.array([0.1, 0.2, 0.3, 0.4])
    assert wilcoxon(rates, rates) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wilcoxon(rates, rates + np.array([0, 0.1, 0.2, 0.3])) == pytest.approx(0.25)


def signed_ranks(differences: np.ndarray) -> float:
    """The exact p by going through all signs."""
    ranks = stats.rankdata(np.abs(differences))
    sums = np.array([np.dot(ranks, s) for s in product((0, 1), repeat=ranks.size)])
    seen = ranks[differences > 0].sum()
    return min(1.0, 2 * min((sums <= seen + 1e-9).mean(), (sums >= seen - 1e-9).mean()))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_wilcoxon_with_ties_is_exact(steps: list[int]) -> None:
    differences = np.array(steps) / 10
    base = np.linspace(0.1, 0.9, len(steps)) / 3
    left = differences[differences != 0]
    expected = signed_ranks(left) if left.size else 1.0
    # In floating point 0.1 + 0.3 - 0.1 is not 0.3: rounding parts no tie.
    assert wilcoxon(base + differences, base) == pytest.approx(expected)


def test_wilcoxon_of_many_speakers_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for size, method in ((12, "exact"), (50, "exact"), (51, "asymptotic"), (400, "asymptotic")):
        a, b = rng.random(size), rng.random(size)
        assert wilcoxon(a, b) == pytest.approx(stats.wilcoxon(a, b, method=method).pvalue)


def test_golden_ranks_of_demsar() -> None:
    found = rank(DEMSAR)
    assert found.average_ranks.round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    # Demšar's 9.28 is without the correction for ties, which can only raise it.
    num_sets, num_systems = DEMSAR.shape
    spread = (found.average_ranks**2).sum() - num_systems * (num_systems + 1) ** 2 / 4
    statistic = 12 * num_sets / (num_systems * (num_systems + 1)) * spread
    assert statistic == pytest.approx(9.28, abs=0.005)
    ties = [count**3 - count for row in DEMSAR for count in np.unique(row, return_counts=True)[1]]
    statistic /= 1 - sum(ties) / (num_sets * (num_systems**3 - num_systems))
    assert found.p == pytest.approx(stats.chi2.sf(statistic, 3))


def test_systems_that_all_tie_do_not_differ() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rank(np.full((5, 3), 0.1) + 1e-17)
    assert found.p == 1
    assert found.average_ranks.tolist() == [2, 2, 2]
