"""Intervals for word error rates that come from few seeds and few speakers.

Notation: S seeds, C clusters (speakers), R replicates. Errors and words are summed within a cluster
first, since utterances of one speaker are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
NUM_REPLICATES = 10_000


@dataclass(frozen=True)
class Interval:
    """A point estimate with its two-sided 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Error rate of `a` minus that of `b` over the same test clusters."""

    interval: Interval
    p: float
    """Two-sided, from the bootstrap: twice the share of replicates beyond zero."""
    smallest_gap: float
    """The difference that this many seeds and speakers would show with 80 % power at the 5 %
    level."""


def pooled_rate(errors_SC: Floats, words_C: Floats) -> float:
    """Errors over reference words, every seed with the same weight."""
    return float(errors_SC.mean(axis=0).sum() / words_C.sum())


def rate_interval(errors_SC: Floats, words_C: Floats, rng: np.random.Generator) -> Interval:
    """Mean rate of a recipe over seeds, with the interval of a two-way (seed × cluster)
    bootstrap."""
    clusters_RC = _cluster_weights(words_C.size, rng)
    rates_R = _replicates(errors_SC, words_C, clusters_RC, rng)
    return _interval(pooled_rate(errors_SC, words_C), rates_R)


def difference(
    errors_a_SC: Floats, errors_b_SC: Floats, words_C: Floats, rng: np.random.Generator
) -> Difference:
    """Difference of two recipes on the same test set: clusters resampled together, seeds apart."""
    clusters_RC = _cluster_weights(words_C.size, rng)
    deltas_R = _replicates(errors_a_SC, words_C, clusters_RC, rng) - _replicates(
        errors_b_SC, words_C, clusters_RC, rng
    )
    mean = pooled_rate(errors_a_SC, words_C) - pooled_rate(errors_b_SC, words_C)
    beyond = min(np.count_nonzero(deltas_R <= 0), np.count_nonzero(deltas_R >= 0))
    p = min(1.0, 2 * (beyond + 1) / (deltas_R.size + 1))
    # 1.96 + 0.84: quantiles of the normal distribution at 97.5 % and 80 %.
    return Difference(_interval(mean, deltas_R), p, 2.80 * float(deltas_R.std(ddof=1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of `p_values`, in their order (Holm 1979)."""
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _cluster_weights(num_clusters: int, rng: np.random.Generator) -> Floats:
    shares = np.full(num_clusters, 1 / num_clusters)
    return rng.multinomial(num_clusters, shares, NUM_REPLICATES).astype(np.float64)


def _replicates(
    errors_SC: Floats, words_C: Floats, clusters_RC: Floats, rng: np.random.Generator
) -> Floats:
    """Bootstrap replicates [R] of the pooled rate.

    The spread of S resampled seeds is too small by (S - 1) / S in variance, a third for three
    seeds; deviations from the mean over seeds are widened by its square root to make up for it.
    """
    num_seeds = errors_SC.shape[0]
    mean_C = errors_SC.mean(axis=0)
    widen = np.sqrt(num_seeds / (num_seeds - 1)) if num_seeds > 1 else 1.0
    widened_SC = mean_C + widen * (errors_SC - mean_C)
    seeds_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), NUM_REPLICATES)
    errors_RC = (seeds_RS / num_seeds) @ widened_SC
    rates_R: Floats = (errors_RC * clusters_RC).sum(axis=1) / (clusters_RC @ words_C)
    return rates_R


def _interval(mean: float, replicates_R: Floats) -> Interval:
    low, high = np.quantile(replicates_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))
