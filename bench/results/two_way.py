"""How far a recipe's error rate can be trusted: its seeds and its test speakers resampled together.

Legend: S runs of a recipe (seeds), C clusters (speakers), R replicates.

Seeds and speakers are crossed: every run reads every speaker. A replicate draws S runs and C
clusters with replacement (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 2007). What
it does to the rate falls into three parts, as in a two-way analysis of variance: the clusters
alone, the runs alone, and their interaction. Each part has its own variance,

    clusters:    sd_clusters² / C + sd_interaction² / (S C)
    runs:        sd_runs² / S     + sd_interaction² / (S C)
    interaction:                    sd_interaction² / (S C)

after the factors C / (C - 1) and S / (S - 1) that a bootstrap of few units lacks, so the variance
of the rate is clusters + runs - interaction. (The replicates as they come hold the interaction
three times.) With three seeds and ten speakers such a variance is itself uncertain: intervals use
Student's t with Satterthwaite's degrees of freedom, and p is from the same t, so that interval and
p agree. tests/results/test_coverage.py measures what that is worth.

A study searches once a recipe, so the luck of the search is in no number. Where the runs of a
recipe come from several searches, the searches take the place of the runs: what is resampled is the
search with all its seeds, and the share of the search is told from that of the seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.results.bootstrap import LEVEL, NUM_REPLICATES, Floats, resampled_rates

POWER = 0.8
_ROUNDING = 1e-12
"""Rates closer than this are the same: sums taken in another order."""


@dataclass(frozen=True)
class Component:
    """An estimate of a variance, and its own uncertainty."""

    variance: float
    noise: float
    """variance² / degrees of freedom. It adds up when independent estimates are added or
    subtracted (Satterthwaite, Biometrics Bulletin 1946)."""

    @classmethod
    def of(cls, variance: float, degrees_of_freedom: int) -> "Component":
        """From a mean square; no degrees of freedom, no component."""
        if degrees_of_freedom == 0:
            return cls(0.0, 0.0)
        return cls(variance, variance**2 / degrees_of_freedom)

    def __add__(self, other: "Component") -> "Component":
        return Component(self.variance + other.variance, self.noise + other.noise)

    def __sub__(self, other: "Component") -> "Component":
        return Component(self.variance - other.variance, self.noise + other.noise)

    def __mul__(self, factor: float) -> "Component":
        return Component(self.variance * factor, self.noise * factor**2)


@dataclass(frozen=True)
class Recipe:
    """The error rate of a recipe, and what resampling its runs and its test set does to it."""

    wer: float
    """Mean over runs."""
    num_runs: int
    """Of searches, where there are several."""
    num_clusters: int
    clusters_R: Floats
    """Rates with clusters resampled, every run counted once; replicate r is the same test set for
    all recipes of one call."""
    single_R: Floats
    """Rates of one run drawn at random, on those test sets."""
    runs: Component
    """The variance of `wer` by its runs; zero of a single run, whose luck cannot be seen."""
    interaction: Component
    """The part of `runs` that is interaction with the clusters."""
    seeds: float
    """The variance of `wer` by the seeds within searches; NaN of a single search."""


@dataclass(frozen=True)
class Estimate:
    """A rate or a difference of rates, with what limits it."""

    value: float
    total: Component
    from_seeds: float
    """Share of the variance that more seeds would lower; the shares add up to 1."""
    from_test_set: float
    """Share that more speakers would lower."""
    from_interaction: float
    """Share that either would lower: which speakers a seed happens to be good at."""
    from_search: float
    """Share that more searches would lower; NaN if there was one, whose luck cannot be seen."""

    @property
    def standard_error(self) -> float:
        """The root of the variance."""
        return float(np.sqrt(self.total.variance))

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's; a fraction, and one at least.

        A subtracted component can take it below what the poorest mean square has, one: with two
        runs and two clusters to a third, where t has a quantile of 1,350.
        """
        if self.total.noise == 0:
            return 1.0
        return max(1.0, self.total.variance**2 / self.total.noise)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value - self._quantile((1 + LEVEL) / 2) * self.standard_error

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self._quantile((1 + LEVEL) / 2) * self.standard_error

    @property
    def p(self) -> float:
        """Two-sided, of the value zero."""
        if abs(self.value) < _ROUNDING:
            return 1.0
        if self.total.variance == 0:
            return 0.0
        t = abs(self.value) / self.standard_error
        return 2 * float(special.stdtr(self.degrees_of_freedom, -t))

    @property
    def smallest_gap(self) -> float:
        """The difference that would be seen in 80 % of such experiments at the 5 % level: the
        minimum detectable effect (Bloom, Evaluation Review 1995), before any adjustment."""
        return (self._quantile((1 + LEVEL) / 2) + self._quantile(POWER)) * self.standard_error

    def _quantile(self, probability: float) -> float:
        return float(special.stdtrit(self.degrees_of_freedom, probability))


def resample_recipes(
    errors: Sequence[Floats],
    words_C: Floats,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
    searches: Sequence[Sequence[str]] = (),
) -> list[Recipe]:
    """The recipes whose runs made `errors` (one array [S, C] each; S may differ) on the same test
    clusters, of which there are at least two. `searches` names the search of every run; without it,
    each recipe was searched once.

    All of them share the replicates' clusters; runs are drawn for each recipe on its own, since
    seed 3 of one recipe has nothing to do with seed 3 of another.
    """
    assert words_C.size > 1, "one cluster says nothing about the next"
    rates_RM = resampled_rates(np.concatenate(errors), words_C, rng, num_replicates)
    ends = np.cumsum([len(own) for own in errors])[:-1]
    split_RS = np.split(rates_RM, ends, axis=1)
    named = searches or [[""] * len(own) for own in errors]
    return [
        _recipe(own / words_C.sum(), rates_RS, names, rng)
        for own, rates_RS, names in zip(errors, split_RS, named, strict=True)
    ]


def _recipe(
    errors_SC: Floats, rates_RS: Floats, searches: Sequence[str], rng: np.random.Generator
) -> Recipe:
    """`errors_SC` are already divided by the number of words, so they add up to the rates."""
    num_replicates, num_clusters = len(rates_RS), errors_SC.shape[1]
    drawn = rng.integers(len(errors_SC), size=num_replicates)
    single_R = rates_RS[np.arange(num_replicates), drawn]
    rates_S = errors_SC.sum(axis=1)
    seeds = np.nan
    if len(set(searches)) > 1:
        seeds = _variance_within(rates_S, searches)
        mean_JS = _mean_over_searches(searches)
        rates_S, rates_RS = mean_JS @ rates_S, rates_RS @ mean_JS.T
    clusters_R = rates_RS.mean(axis=1)
    runs, interaction = _components(rates_S, rates_RS, num_clusters, rng)
    wer = float(rates_S.mean())
    return Recipe(wer, len(rates_S), num_clusters, clusters_R, single_R, runs, interaction, seeds)


def _components(
    rates_S: Floats, rates_RS: Floats, num_clusters: int, rng: np.random.Generator
) -> tuple[Component, Component]:
    """The parts of the runs and of the interaction in the variance of the mean rate."""
    num_runs, num_replicates = len(rates_S), len(rates_RS)
    if num_runs == 1:
        return Component(0.0, 0.0), Component(0.0, 0.0)
    shares = np.full(num_runs, 1 / num_runs)
    weights_RS = rng.multinomial(num_runs, shares, num_replicates) / num_runs
    runs_R = weights_RS @ rates_S
    rest_R = (weights_RS * rates_RS).sum(axis=1) - rates_RS.mean(axis=1) - runs_R
    by_runs, by_clusters = num_runs / (num_runs - 1), num_clusters / (num_clusters - 1)
    runs = float(runs_R.var()) * by_runs
    rest = float(rest_R.var()) * by_runs * by_clusters
    return (
        Component.of(runs, num_runs - 1),
        Component.of(rest, (num_runs - 1) * (num_clusters - 1)),
    )


def _mean_over_searches(searches: Sequence[str]) -> Floats:
    """The matrix [J, S] that takes the mean over the runs of each of J searches."""
    names = sorted(set(searches))
    member_JS = np.array([[name == own for own in searches] for name in names])
    mean_JS: Floats = member_JS / member_JS.sum(axis=1, keepdims=True)
    return mean_JS


def _variance_within(rates_S: Floats, searches: Sequence[str]) -> float:
    """Of the mean over J searches, by their seeds: the mean of var / S over J."""
    names = np.array(searches)
    groups = [rates_S[names == name] for name in sorted(set(searches))]
    repeated = [group for group in groups if len(group) > 1]
    if not repeated:
        return 0.0
    return float(np.mean([g.var(ddof=1) / len(g) for g in repeated])) / len(groups)


def rate(recipe: Recipe) -> Estimate:
    """The mean rate of a recipe over seeds and speakers like these."""
    return _estimate(
        recipe.wer,
        recipe.clusters_R,
        recipe.num_clusters,
        recipe.runs,
        recipe.interaction,
        recipe.seeds,
    )


def difference(a: Recipe, b: Recipe) -> Estimate:
    """WER of `b` minus that of `a`: above zero, `a` is better. Of two single runs it is the
    difference of two checkpoints, not of two recipes."""
    return _estimate(
        b.wer - a.wer,
        b.clusters_R - a.clusters_R,
        a.num_clusters,
        a.runs + b.runs,
        a.interaction + b.interaction,
        a.seeds + b.seeds,
    )


def all_differences(recipes: Sequence[Recipe]) -> dict[tuple[int, int], tuple[Estimate, float]]:
    """The difference of every pair, with a cautious p for an adjustment over all pairs.

    The seeds of some pair among many agree by luck, its p is tiny, and small levels such as Holm's
    pick out just that pair: with three seeds and 15 pairs of equal recipes, in up to 11 % of
    studies. So p is also taken with the variance of seeds pooled over all recipes, and the larger
    of both counts. For two recipes that changes nothing.
    """
    runs, interaction = _pooled(recipes, "runs"), _pooled(recipes, "interaction")
    found = {}
    for i, a in enumerate(recipes):
        for j, b in enumerate(recipes[i + 1 :], i + 1):
            own = difference(a, b)
            scale = sum(1 / x.num_runs for x in (a, b) if x.num_runs > 1)
            deltas_R = b.clusters_R - a.clusters_R
            pooled = _estimate(
                own.value, deltas_R, a.num_clusters, runs * scale, interaction * scale, np.nan
            )
            found[i, j] = own, max(own.p, pooled.p)
    return found


def probability_of_improvement(a: Recipe, b: Recipe) -> float:
    """The share of replicates in which a random run of `a` makes fewer errors than a random run of
    `b`, ties counted half: Bisani & Ney's measure (2004), with the seed drawn too, as Bouthillier
    et al. (MLSys 2021) ask. Above 0.75 is what they call meaningful."""
    return float((a.single_R < b.single_R).mean() + (a.single_R == b.single_R).mean() / 2)


def _pooled(recipes: Sequence[Recipe], part: str) -> Component:
    """The variance of a single run, averaged over recipes by their degrees of freedom."""
    repeated = [recipe for recipe in recipes if recipe.num_runs > 1]
    freedom = sum(recipe.num_runs - 1 for recipe in repeated)
    total = Component(0.0, 0.0)
    for recipe in repeated:
        own: Component = getattr(recipe, part)
        total += own * (recipe.num_runs * (recipe.num_runs - 1) / freedom)
    return total


def _estimate(
    value: float,
    clusters_R: Floats,
    num_clusters: int,
    runs: Component,
    interaction: Component,
    seeds: float,
) -> Estimate:
    variance = float(clusters_R.var()) * num_clusters / (num_clusters - 1)
    total = Component.of(variance, num_clusters - 1)
    # Less variance between runs than their interaction alone would bring: no sign of a difference
    # between seeds, and the interaction is in the clusters' part already.
    if runs.variance > interaction.variance:
        total += runs - interaction
    if total.variance == 0:
        return Estimate(value, total, np.nan, np.nan, np.nan, np.nan)
    from_runs = 1 - variance / total.variance
    from_interaction = min(interaction.variance, variance) / total.variance
    from_seeds = from_runs if np.isnan(seeds) else min(seeds / total.variance, from_runs)
    return Estimate(
        value=value,
        total=total,
        from_seeds=from_seeds,
        # Rounded below zero where the interaction is all that clusters bring.
        from_test_set=max(0.0, 1 - from_runs - from_interaction),
        from_interaction=from_interaction,
        from_search=np.nan if np.isnan(seeds) else from_runs - from_seeds,
    )
