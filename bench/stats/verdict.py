"""How each pair of systems ends: different, equivalent, or undecided, and what would decide it.

Legend: P pairs of systems; a leading "..." stands for studies that are computed at once.

One interval decides a pair. At the level that `step_down` gives the pair it either leaves out zero
(the two differ), or lies, at twice that level, inside the margin of equivalence (two one-sided
tests, each at the level), or neither. So the interval shown beside a verdict is the one behind it.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.clusters import Bools, Floats
from bench.stats.estimate import POWER, Estimate
from bench.stats.multiplicity import step_down
from bench.stats.variance import Split, SystemEstimates, differences

MARGIN = 0.02
"""Differences of WER within two points either way count as none, unless the question says else."""
MOST_SEEDS, MOST_CLUSTERS = 100, 10_000
"""More is no advice."""


@dataclass(frozen=True)
class Verdicts:
    """[..., P] each."""

    estimate: Estimate
    splits: tuple[Split, Split]
    """From a pair's own seeds and from the pool; see `differences`."""
    p: Floats
    p_adjusted: Floats
    level: Floats
    """Of the test for a difference."""
    different: Bools
    equivalent: Bools
    half_width: Floats
    """Of the interval behind the verdict."""
    coverage: Floats
    """Of that interval: 1 - level, of an equivalence 1 - 2 level."""
    minimum_detectable_effect: Floats
    """With 80 % power at the pair's level."""


def judge(systems: SystemEstimates, claims_P: Bools, margin: float = MARGIN) -> Verdicts:
    """Every pair of `systems`; `claims_P` marks those that were registered before the study."""
    delta, splits = differences(systems)
    estimate = Estimate(delta, [split.total for split in splits])
    p = estimate.p()
    levels = step_down(p, claims_P)
    ends = estimate.ends(levels.level, margin)
    return Verdicts(
        estimate=estimate,
        splits=splits,
        p=p,
        p_adjusted=levels.p_adjusted,
        level=levels.level,
        different=ends.different,
        equivalent=ends.equivalent,
        half_width=ends.half_width,
        coverage=ends.coverage,
        minimum_detectable_effect=estimate.minimum_detectable_effect(levels.level),
    )


@dataclass(frozen=True)
class Remedy:
    """What would decide a pair in four of five studies if its true difference were the one seen."""

    num_seeds: int | None
    """Of each system, in place of those it has; None if no number up to MOST_SEEDS would."""
    num_clusters: int | None
    """In place of those there are, seeds as they are; None if no number would."""


def remedy(
    delta: float,
    split: Split,
    level: float,
    margin: float,
    num_seeds: int,
    num_clusters: int,
) -> Remedy:
    """For one pair of systems with `num_seeds` runs each, `split` without axes."""

    # Each part shrinks with what it comes from, and so does the uncertainty of its estimate:
    #
    #     part           shrinks by            degrees of freedom
    #     test set       clusters              clusters - 1
    #     seeds          seeds                 in proportion to seeds - 1
    #     interaction    seeds * clusters      counted with both
    def power(seeds: int, clusters: int) -> float:
        by_seeds, by_clusters = num_seeds / seeds, num_clusters / clusters
        parts = (
            np.nan_to_num(float(split.by_test_set)) * by_clusters,
            np.nan_to_num(float(split.by_seeds)) * by_seeds,
            np.nan_to_num(float(split.by_interaction)) * by_seeds * by_clusters,
        )
        runs_df = float(split.runs.degrees_of_freedom) * (seeds - 1) / max(1, num_seeds - 1)
        # As in Component: each mean square has a noise of variance² / degrees of freedom, these add
        # up, and the total has total² / noise degrees of freedom (Satterthwaite).
        from_clusters = parts[0] + parts[2]
        noise = from_clusters**2 / (clusters - 1)
        if parts[1]:
            noise += (parts[1] + parts[2]) ** 2 / max(1.0, runs_df)
        total = sum(parts)
        return deciding_power(delta, total, total**2 / noise, level, margin)

    seeds_counts = range(num_seeds + 1, MOST_SEEDS + 1)
    several = bool(np.isfinite(split.by_seeds))
    seeds = next((s for s in seeds_counts if several and power(s, num_clusters) >= POWER), None)
    # By halving: the power rises with the clusters.
    clusters_counts = range(num_clusters + 1, MOST_CLUSTERS + 1)
    place = bisect_left(clusters_counts, POWER, key=lambda count: power(num_seeds, count))
    is_found = place < len(clusters_counts)
    return Remedy(seeds, clusters_counts[place] if is_found else None)


def deciding_power(delta: float, variance: float, df: float, level: float, margin: float) -> float:
    """The probability that a study ends as different or as equivalent, if the truth is `delta`."""
    se = np.sqrt(variance)
    beyond = special.stdtrit(df, 1 - level / 2) * se
    inside = margin - special.stdtrit(df, 1 - level) * se
    if inside >= beyond:
        return 1.0
    # How a study ends by the difference that it observes:
    #
    #               -beyond         -inside    0    inside         beyond
    #     different    |  undecided    |  equivalent   |  undecided  |    different
    different = special.stdtr(df, (delta - beyond) / se) + special.stdtr(df, (-delta - beyond) / se)
    if inside <= 0:
        return float(different)
    inner = special.stdtr(df, (inside - delta) / se) - special.stdtr(df, (-inside - delta) / se)
    return float(different + inner)
