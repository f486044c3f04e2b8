"""Where the uncertainty of an error rate comes from: training seeds crossed with test speakers.

Legend: V systems, S runs of a system (seeds), C clusters (speakers), P pairs of systems, a before b
in the order of `np.triu_indices`. A leading "..." stands for studies that are computed at once.

Every run reads every speaker, so the variance of a mean rate is that of a two-way analysis of
variance with random effects,

    clusters:    sd_clusters² / C + sd_interaction² / (S C)
    seeds:       sd_seeds² / S    + sd_interaction² / (S C)
    interaction:                    sd_interaction² / (S C)

and equals clusters + seeds - interaction. Each part is estimated from linearised residuals
(bench.stats.clusters), or for fewer than ten clusters the first by a bootstrap. Each is a mean
square with its degrees of freedom; a sum has Satterthwaite's (Biometrics Bulletin 1946), and
intervals and p come from Student's t with that many.

The seeds of a single run have no variance that can be seen: it is NaN, never zero. Where other
systems of the comparison have several runs, the variance of a run pooled over those stands in.
Pooling also gives the pairs of three systems or more with three seeds or more each their degrees of
freedom, as long as no system's seeds scatter far more than the others' (`PooledVariance.p_equal`);
else a pair's p and interval are the wider of those from its own two systems and from the pool.

Each system is tuned once: no number here contains the variance between searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.stats.clusters import Bools, Floats, covariance, residuals
from bench.stats.component import Component

FEWEST_POOLED_SYSTEMS, FEWEST_POOLED_SEEDS = 3, 3
"""A pair is judged by the pooled variance alone from so many systems with so many seeds each."""
EQUAL_VARIANCE_LEVEL = 0.1
"""Below this p the systems' variances between seeds are not assumed to be equal."""
_ROUNDING = 1e-24
"""A variance of rates no larger than this is zero: sums taken in another order."""
_CANCELLED = 1e-12
"""A difference of variances smaller than this share of them is zero too."""


@dataclass(frozen=True)
class SystemEstimates:
    """The error rates of V systems on one test set, and the parts of their variance."""

    wer: Floats
    """[..., V]: means over seeds."""
    num_seeds: tuple[int, ...]
    num_clusters: int
    by_clusters: Floats
    """[..., V, V]: covariance of the means by clusters, runs as they are."""
    seeds: Component
    """[..., V]: the variance of each mean by its runs; NaN of a single run."""
    interaction: Component
    """[..., V]: the part of `seeds` that is interaction with the clusters."""


@dataclass(frozen=True)
class PerRun:
    """The variance of a single run."""

    seeds: Component
    interaction: Component

    def mean_of(self, runs: Floats) -> tuple[Component, Component]:
        """Both, of a mean over `runs` [P] of them (or of the difference of two, 1 / runs being the
        sum of both's)."""
        return tuple(  # type: ignore[return-value]
            Component(part.variance[..., None], part.noise[..., None]) * (1 / runs)
            for part in (self.seeds, self.interaction)
        )


@dataclass(frozen=True)
class PooledVariance:
    """The variance of a single run, averaged over the systems that have several; NaN if none."""

    calm: PerRun
    """Over the systems whose variance between seeds is not far larger than the others'."""
    everyone: PerRun
    p_equal: Floats
    """Of the hypothesis that all systems have the same variance between seeds; NaN for fewer than
    two systems with several runs."""
    is_calm: Bools
    """[..., V]: in the first pool."""


@dataclass(frozen=True)
class Split:
    """The variance of a rate or of a difference, and its parts by what would shrink them."""

    total: Component
    by_test_set: Floats
    """Shrinks with more clusters."""
    by_seeds: Floats
    """Shrinks with more runs; NaN if unknown."""
    by_interaction: Floats
    """Shrinks with either; NaN if unknown."""
    clusters: Component
    """What `by_test_set` and `by_interaction` come from."""
    runs: Component
    """What `by_seeds` comes from; NaN if unknown."""

    def at(self, place: int) -> "Split":
        """Of one system or pair."""
        return Split(**{name: part[..., place] for name, part in vars(self).items()})


def estimate_systems(
    errors: Sequence[Floats], words_C: Floats, rng: np.random.Generator
) -> SystemEstimates:
    """Systems whose runs made `errors` (one array [..., S, C] each; S may differ) on one test set
    with `words_C` reference words. `rng` draws the bootstrap of fewer than ten clusters."""
    means_VC = np.stack([own.mean(axis=-2) for own in errors], axis=-2)
    return estimate_linearised(
        [own.sum(axis=-1) / words_C.sum() for own in errors],
        [residuals(own, words_C) for own in errors],
        covariance(means_VC, words_C, rng),
        words_C.size,
    )


def estimate_linearised(
    values: Sequence[Floats],
    residuals_SC: Sequence[Floats],
    by_clusters: Floats,
    num_clusters: int,
) -> SystemEstimates:
    """Any numbers of runs ([..., S] of each system) that are nearly linear in their clusters, from
    their residuals [..., S, C] and the covariance [..., V, V] of their means by clusters, which has
    `num_clusters` - 1 degrees of freedom."""
    parts = [
        _run_parts(own, rest, num_clusters) for own, rest in zip(values, residuals_SC, strict=True)
    ]
    return SystemEstimates(
        wer=np.stack([own.mean(axis=-1) for own in values], axis=-1),
        num_seeds=tuple(own.shape[-1] for own in values),
        num_clusters=num_clusters,
        by_clusters=by_clusters,
        seeds=Component.stacked([seeds for seeds, _ in parts]),
        interaction=Component.stacked([interaction for _, interaction in parts]),
    )


def rates(systems: SystemEstimates) -> Split:
    """The variance [..., V] of each mean rate, over seeds and speakers like these. The seeds of a
    single run have the pooled variance; without one, only the clusters count."""
    num_V = np.array(systems.num_seeds, dtype=np.float64)
    own = systems.seeds, systems.interaction
    pooled = pooled_variance(systems).everyone.mean_of(num_V)
    seeds, interaction = (
        Component.chosen(num_V > 1, o, p) for o, p in zip(own, pooled, strict=True)
    )
    by_clusters = np.diagonal(systems.by_clusters, axis1=-2, axis2=-1)
    return _split(by_clusters, systems.num_clusters, seeds, interaction)


def differences(systems: SystemEstimates) -> tuple[Floats, tuple[Split, Split]]:
    """The difference [..., P] of each pair, WER of b minus WER of a, with its variance from the
    pair's own seeds and from the pool. Where one of the two does not count it is NaN; where both
    do, the wider interval and the larger p do. Of two single runs where no system has several, it
    is the difference of two checkpoints, and only the first counts, without a part of seeds.
    """
    # Both systems read the same speakers, so what a hard speaker adds to both cancels: the variance
    # by clusters is that of the difference, with the covariance taken off twice. Seeds are not
    # shared, so their variances add.
    #
    #                    speaker 1   speaker 2   speaker 3
    #     a, seed 0        e             e           e      }  mean over seeds: one row a system,
    #     a, seed 1        e             e           e      }  whose covariance over the columns is
    #     b, seed 0        e             e           e      }  `by_clusters`
    #     b, seed 1        e             e           e      }
    a_P, b_P = np.triu_indices(len(systems.num_seeds), 1)
    num_V = np.array(systems.num_seeds, dtype=np.float64)
    pool = pooled_variance(systems)
    own_counts, pool_counts = _which_count(systems, pool)
    cov = systems.by_clusters
    apart = cov[..., a_P, a_P] + cov[..., b_P, b_P]
    by_clusters = apart - 2 * cov[..., a_P, b_P]
    by_clusters = np.where(by_clusters <= _CANCELLED * apart, 0.0, by_clusters)
    # The variance of a difference of means is that of one run over so many.
    runs_P = 1 / (1 / num_V[a_P] + 1 / num_V[b_P])
    repeated_P = (num_V[a_P] > 1) & (num_V[b_P] > 1)
    pooled_parts = (
        Component.chosen(repeated_P, calm, everyone)
        for calm, everyone in zip(
            pool.calm.mean_of(runs_P), pool.everyone.mean_of(runs_P), strict=True
        )
    )
    own_parts = (part[..., a_P] + part[..., b_P] for part in (systems.seeds, systems.interaction))
    own = _split(by_clusters, systems.num_clusters, *own_parts)
    pooled = _split(by_clusters, systems.num_clusters, *pooled_parts)
    # A variance that stands in for an unknown one is known no better than its own mean square.
    freedom = pool.everyone.seeds.degrees_of_freedom[..., None]
    least = np.where(repeated_P, 0.0, pooled.total.variance**2 / freedom)
    pooled = replace(
        pooled, total=replace(pooled.total, noise=np.maximum(pooled.total.noise, least))
    )
    return systems.wer[..., b_P] - systems.wer[..., a_P], (
        replace(own, total=own.total.where(own_counts)),
        replace(pooled, total=pooled.total.where(pool_counts)),
    )


def pooled_variance(systems: SystemEstimates) -> PooledVariance:
    """The variance of one run, averaged over systems by their degrees of freedom; NaN if none has
    two runs.

    Equality of variances is tested by Cochran's test of the largest variance (Annals of Eugenics
    1941), for unequal numbers of runs ('t Lam, Communications in Statistics 2010): under
    equal variances the share of one system in the sum of squares has a beta distribution, and the
    smallest of the k p-values is multiplied by k. A system whose share is too large leaves the
    pool, and the rest is tested again.
    """
    num_V = np.array(systems.num_seeds)
    calm_V = np.broadcast_to(num_V > 1, systems.wer.shape).copy()
    rounds = int((num_V > 1).sum()) - 1
    p_equal = np.full(systems.wer.shape[:-1], np.nan)
    # At most one system leaves the pool in a turn, and the last one stays. The p of the first turn,
    # of all systems, is the one that is reported; later ones decide only who is in the pool.
    for turn in range(rounds):
        p, widest = _equal_variances(systems, calm_V)
        p_equal = p if turn == 0 else p_equal
        is_widest_V = np.arange(num_V.size) == widest[..., None]
        calm_V &= ~(is_widest_V & (p < EQUAL_VARIANCE_LEVEL)[..., None])
    return PooledVariance(
        calm=_average(systems, calm_V),
        everyone=_average(systems, np.broadcast_to(num_V > 1, calm_V.shape)),
        p_equal=p_equal,
        is_calm=calm_V,
    )


def _average(systems: SystemEstimates, pool_V: Bools) -> PerRun:
    """The variance of one run, averaged over the systems `pool_V` by their degrees of freedom."""
    num_V = np.array(systems.num_seeds)
    freedom_V = np.where(pool_V, num_V - 1, 0)
    freedom = freedom_V.sum(axis=-1)
    total = np.where(freedom > 0, freedom, np.nan)

    def average(part: Component) -> Floats:
        # The variance of a mean times its runs is that of one run; each counts by its degrees of
        # freedom.
        found: Floats = (np.nan_to_num(part.variance) * num_V * freedom_V).sum(axis=-1) / total
        return found

    return PerRun(
        seeds=Component.of(average(systems.seeds), total),
        interaction=Component.of(
            average(systems.interaction), total * max(1, systems.num_clusters - 1)
        ),
    )


def _equal_variances(systems: SystemEstimates, calm_V: Bools) -> tuple[Floats, NDArray[np.intp]]:
    """The p of Cochran's test over the systems `calm_V`, and the system with the largest share."""
    num_V = np.array(systems.num_seeds)
    freedom_V = np.where(calm_V, num_V - 1.0, np.nan)
    squares_V = systems.seeds.variance * num_V * freedom_V
    total = np.nansum(freedom_V, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_V = squares_V / np.nansum(squares_V, axis=-1, keepdims=True)
        # The probability that a system's share of all squares is so large.
        p_V = special.betaincc(freedom_V / 2, (total - freedom_V) / 2, share_V)
    p_V = np.where(np.isfinite(p_V), p_V, 1.0)
    return np.minimum(1.0, calm_V.sum(axis=-1) * p_V.min(axis=-1)), p_V.argmin(axis=-1)


def probability_of_improvement(errors_a_SC: Floats, errors_b_SC: Floats, words_C: Floats) -> float:
    """That a random run of `a` makes fewer errors than a random run of `b` on another such test
    set, ties counted half: Bisani & Ney's measure (2004), with the seed drawn too, as Bouthillier
    et al. (MLSys 2021) ask. Above 0.75 is what they call meaningful.

    The mean over pairs of runs of the normal probability of their difference.
    """
    num_clusters = words_C.size
    total = words_C.sum()
    delta_ST = (errors_b_SC.sum(axis=1) - errors_a_SC.sum(axis=1)[:, None]) / total
    between = residuals(errors_b_SC, words_C)[None] - residuals(errors_a_SC, words_C)[:, None]
    variance_ST = (between**2).sum(axis=2) * num_clusters / max(1, num_clusters - 1)
    known = variance_ST > _ROUNDING
    z_ST = delta_ST / np.sqrt(np.where(known, variance_ST, 1.0))
    sure = (np.sign(np.where(np.abs(delta_ST) < 1e-12, 0.0, delta_ST)) + 1) / 2  # certain, or a tie
    return float(np.where(known, special.ndtr(z_ST), sure).mean())


def _run_parts(
    values_S: Floats, residuals_SC: Floats, num_clusters: int
) -> tuple[Component, Component]:
    """The variance of the mean over the runs of one system by its runs, and its part by
    interaction."""
    num_runs = values_S.shape[-1]
    if num_runs == 1:
        nan = np.full(values_S.shape[:-1], np.nan)
        return Component(nan, nan), Component(nan, nan)
    # The mean square between runs estimates seeds and interaction together (sd_seeds² / S +
    # sd_interaction² / (S C)); that of the residuals estimates the interaction alone. `_split`
    # subtracts the second from the first.
    seeds = Component.of(values_S.var(axis=-1, ddof=1) / num_runs, num_runs - 1)
    # Residuals of each run about the mean run: what its speakers have beyond the run's own rate.
    rest = residuals_SC - residuals_SC.mean(axis=-2, keepdims=True)
    # A cell of the table of runs and clusters is C times its residual, with the variance C² squares
    # / freedom; the mean over S C cells has that over S C.
    freedom = (num_runs - 1) * max(1, num_clusters - 1)
    squares = (rest**2).sum(axis=(-2, -1))
    return seeds, Component.of(num_clusters * squares / (num_runs * freedom), freedom)


def _split(
    by_clusters: Floats, num_clusters: int, seeds: Component, interaction: Component
) -> Split:
    """Less variance between runs than their interaction alone would bring is no sign of a
    difference between seeds, and the interaction is in the clusters' part already."""
    cleared = np.where(by_clusters > _ROUNDING, by_clusters, 0.0)
    clusters = Component.of(cleared, max(1, num_clusters - 1))
    known = np.isfinite(seeds.variance)
    with np.errstate(invalid="ignore"):
        more = known & (seeds.variance > interaction.variance)
        beyond = np.where(more, seeds.variance - interaction.variance, 0.0)
        both = np.minimum(interaction.variance, clusters.variance)
    noise = np.where(more, seeds.noise + interaction.noise, 0.0)
    # clusters + seeds - interaction: both mean squares contain the interaction, and it counts once.
    #
    #     clusters    [ test set      | interaction ]
    #     runs                        [ interaction | seeds ]
    #     total       [ test set      | interaction | seeds ]
    total = clusters + Component(beyond, noise)
    if num_clusters < 2:
        total = total.where(np.zeros_like(known))
    return Split(
        total=total.where(total.variance > _ROUNDING),
        by_test_set=clusters.variance - np.where(known, both, 0.0),
        by_seeds=np.where(known, beyond, np.nan),
        by_interaction=np.where(known, both, np.nan),
        clusters=clusters,
        runs=seeds,
    )


def enough_to_pool(systems: SystemEstimates) -> bool:
    """Whether the systems and their runs are so many that the pooled variance may count alone."""
    several = [num for num in systems.num_seeds if num > 1]
    return len(several) >= FEWEST_POOLED_SYSTEMS and min(several) >= FEWEST_POOLED_SEEDS


def _which_count(systems: SystemEstimates, pool: PooledVariance) -> tuple[Bools, Bools]:
    """Whether a pair's own variance counts, and whether the pooled one does: [..., P] each."""
    num_V = np.array(systems.num_seeds)
    a_P, b_P = np.triu_indices(num_V.size, 1)
    # What counts, of which the wider one decides:
    #
    #     runs of the two systems             own variance      pooled variance
    #     several of each, all alike          no                yes
    #     several of each, else               yes               if a third has several too
    #     a single one of either              no                yes
    #     single ones in the whole study      yes, of clusters  no
    repeated_P = (num_V[a_P] > 1) & (num_V[b_P] > 1)
    num_repeated = (num_V > 1).sum()
    alike = np.nan_to_num(pool.p_equal)[..., None] >= EQUAL_VARIANCE_LEVEL
    own = repeated_P & ~(enough_to_pool(systems) & alike) | (num_repeated == 0)
    pooled = (num_repeated > 0) & (~repeated_P | (num_repeated > 2))
    return own, np.broadcast_to(pooled, own.shape)
