"""Tests between systems on the same test set, and what to do with many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar
from statsmodels.stats.multitest import multipletests

from bench.results.bootstrap import Floats

ALPHA = 0.05


@dataclass(frozen=True)
class McNemar:
    """Utterances on which two systems disagree."""

    b: int
    """The first has no error, the second has."""
    c: int
    """The second has no error, the first has."""
    p: float
    """Exact and two-sided: of a fair coin that falls so b + c times."""


def mcnemar(right_a_U: NDArray[np.bool_], right_b_U: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test (McNemar 1947) on which utterances were recognised without an error."""
    b = int(np.count_nonzero(right_a_U & ~right_b_U))
    c = int(np.count_nonzero(~right_a_U & right_b_U))
    both = int(np.count_nonzero(right_a_U & right_b_U))
    neither = right_a_U.size - both - b - c
    found = exact_mcnemar([[both, b], [c, neither]], exact=True)
    return McNemar(b, c, float(found.pvalue))


def wilcoxon(rates_a_C: Floats, rates_b_C: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test over speakers (Wilcoxon 1945): exact up to 50
    speakers without ties, else normal. Speakers without a difference are left out."""
    differing = rates_a_C != rates_b_C
    if not differing.any():
        return 1.0
    return float(stats.wilcoxon(rates_a_C[differing], rates_b_C[differing]).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of `p_values` (Holm 1979), in their order."""
    if not p_values:
        return []
    adjusted: list[float] = multipletests(p_values, method="holm")[1].tolist()
    return adjusted


@dataclass(frozen=True)
class Ranking:
    """Systems ranked on several test sets (Demšar, JMLR 2006)."""

    average_ranks: Floats
    """One a system; 1 is the best, ties share their mean."""
    statistic: float
    """Friedman's chi-squared, corrected for ties."""
    p: float
    uncorrected: float
    """The same without that correction, as Demšar's equation has it."""
    critical_difference: float
    """Average ranks further apart than this differ at the 5 % level (Nemenyi)."""


def rank(rates_NV: Floats) -> Ranking:
    """Ranks of V systems, three or more, by their error rates on N test sets."""
    num_sets, num_systems = rates_NV.shape
    average = stats.rankdata(rates_NV, axis=1).mean(axis=0)
    found = stats.friedmanchisquare(*rates_NV.T)
    per_step = num_systems * (num_systems + 1)
    spread = (average**2).sum() - per_step * (num_systems + 1) / 4
    quantile = stats.studentized_range.ppf(1 - ALPHA, num_systems, np.inf) / np.sqrt(2)
    return Ranking(
        average_ranks=average,
        statistic=float(found.statistic),
        p=float(found.pvalue),
        uncorrected=float(12 * num_sets / per_step * spread),
        critical_difference=float(quantile * np.sqrt(per_step / (6 * num_sets))),
    )
