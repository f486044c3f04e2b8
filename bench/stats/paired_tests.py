"""Tests between two systems on the same test set, and ranks of several on many."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.clusters import Bools, Floats
from bench.stats.multiplicity import ALPHA

MOST_EXACT = 50
"""Pairs; the distribution of the signed ranks of more is taken as normal."""


@dataclass(frozen=True)
class McNemar:
    """Utterances on which two systems disagree."""

    b: int
    """The first has no error, the second has."""
    c: int
    """The second has no error, the first has."""
    p: float
    """Exact and two-sided: of a fair coin that falls so b + c times."""


def mcnemar(right_a_U: Bools, right_b_U: Bools) -> McNemar:
    """McNemar's exact test (McNemar 1947) on which utterances were recognised without an error."""
    b = int(np.count_nonzero(right_a_U & ~right_b_U))
    c = int(np.count_nonzero(~right_a_U & right_b_U))
    p = 1.0 if b == c else min(1.0, 2 * float(special.bdtr(min(b, c), b + c, 0.5)))
    return McNemar(b, c, p)


def wilcoxon(rates_a_C: Floats, rates_b_C: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test over speakers (Wilcoxon 1945), exact up to 50
    speakers, ties included, else normal. Speakers without a difference are left out; differences
    that only rounding parts are ties."""
    # Twelve digits: sums taken in another order agree to fifteen.
    differences = np.round(rates_a_C - rates_b_C, 12)
    differences = differences[differences != 0]
    if not differences.size:
        return 1.0
    # Twice the mean ranks are whole numbers, so sums of ranks can be counted.
    ranks = np.rint(2 * _mean_ranks(np.abs(differences))).astype(np.int64)
    # Without a difference the positive ranks sum to sum(r) / 2 in the mean, with a variance of
    # sum(r²) / 4.
    if differences.size > MOST_EXACT:
        beyond = ranks[differences > 0].sum() - ranks.sum() / 2
        return 2 * float(special.ndtr(-abs(beyond) / (np.sqrt((ranks**2).sum()) / 2)))
    # ways[s]: the probability that the ranks of positive differences sum to s if each sign is a
    # fair coin. One more rank adds its size to the sum with probability 1/2.
    ways = np.zeros(ranks.sum() + 1)
    ways[0] = 1.0
    for size in ranks:
        ways[size:] = (ways[size:] + ways[: ways.size - size]) / 2
        ways[:size] /= 2
    positive = int(ranks[differences > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail))


def _mean_ranks(values: Floats) -> Floats:
    """From 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The ranks from last - count + 1 to last, in the mean.
    last = np.cumsum(counts)
    ranks: Floats = ((2 * last - counts + 1) / 2)[place]
    return ranks


@dataclass(frozen=True)
class Ranking:
    """Systems ranked on several test sets (Demšar, JMLR 2006)."""

    average_ranks: Floats
    """One a system; 1 is the best, ties share their mean."""
    p: float
    """Of Friedman's test, corrected for ties, without the variance between seeds. 1 if all systems
    tie everywhere."""
    critical_difference: float
    """Average ranks further apart than this differ at the 5 % level (Nemenyi)."""


def rank(rates_NV: Floats) -> Ranking:
    """Ranks of V systems, three or more, by their error rates on N test sets."""
    from scipy import stats  # half a second, for nothing where there are two systems

    num_sets, num_systems = rates_NV.shape
    rates_NV = np.round(rates_NV, 12)
    average = stats.rankdata(rates_NV, axis=1).mean(axis=0)
    per_step = num_systems * (num_systems + 1)
    # Nemenyi's: q / sqrt(2) · sqrt(V (V + 1) / (6 N)).
    quantile = stats.studentized_range.ppf(1 - ALPHA, num_systems, np.inf) / np.sqrt(2)
    all_tie = bool((rates_NV == rates_NV[:, :1]).all())
    return Ranking(
        average_ranks=average,
        p=1.0 if all_tie else float(stats.friedmanchisquare(*rates_NV.T).pvalue),
        critical_difference=float(quantile * np.sqrt(per_step / (6 * num_sets))),
    )
