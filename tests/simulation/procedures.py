"""What the verdicts, the procedure before them and planned looks make of made-up studies.

Legend: E studies, V systems, S seeds, C speakers, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.component import Component
from bench.stats.estimate import Estimate
from bench.stats.looks import DIFFERENT, EQUIVALENT, LOOKS, OPEN, Decisions, Plan, decide
from bench.stats.multiplicity import ALPHA
from bench.stats.variance import differences, estimate_systems
from bench.stats.verdict import MARGIN, judge
from tests.simulation.models import AT_ONCE, NUM_SPEAKERS, Array, Model, studies


@dataclass(frozen=True)
class Judged:
    """[E, P] each, but for `gaps` [P]."""

    gaps: Array
    """True differences."""
    delta: Array
    different: Array
    equivalent: Array
    half_width: Array

    def false(self) -> Array:
        """Pairs called different that are equal, or in the wrong direction."""
        wrong = np.sign(self.delta) != np.sign(self.gaps)
        return self.different & ((self.gaps == 0) | wrong)

    def falsely_equivalent(self) -> Array:
        return self.equivalent & (np.abs(self.gaps) >= MARGIN - 1e-12)

    def covered(self) -> Array:
        return np.abs(self.delta - self.gaps) <= self.half_width

    def contradicted(self) -> Array:
        """Verdicts that their interval does not bear out."""
        excludes_zero = np.abs(self.delta) > self.half_width
        inside = np.abs(self.delta) + self.half_width < MARGIN
        right = np.where(
            self.different, excludes_zero, np.where(self.equivalent, inside, ~excludes_zero)
        )
        return ~right

    def power(self, gap: float, pairs_P: Array) -> float:
        """The share of the pairs `gap` apart that are found different."""
        chosen = np.isclose(np.abs(self.gaps), gap) & pairs_P
        return float(self.different[:, chosen].mean())


def now(
    model: Model, num_studies: int, shifts_V: Array, num_seeds: int, claims_P: Array, seed: int = 0
) -> Judged:
    """The procedure of bench.stats.verdict."""
    found = [judge(lot, claims_P) for lot in studies(model, num_studies, shifts_V, num_seeds, seed)]
    a, b = np.triu_indices(shifts_V.size, 1)
    return Judged(
        gaps=shifts_V[b] - shifts_V[a],
        delta=np.concatenate([v.estimate.value for v in found]),
        different=np.concatenate([v.different for v in found]),
        equivalent=np.concatenate([v.equivalent for v in found]),
        half_width=np.concatenate([v.half_width for v in found]),
    )


def before(
    model: Model, num_studies: int, shifts_V: Array, num_seeds: int, seed: int = 0
) -> Judged:
    """The larger p of own and pooled variance, Holm over all pairs, unadjusted intervals."""
    a, b = np.triu_indices(shifts_V.size, 1)
    lots = []
    for lot in studies(model, num_studies, shifts_V, num_seeds, seed):
        delta = lot.wer[:, b] - lot.wer[:, a]
        cov = lot.by_clusters
        clusters = cov[:, a, a] + cov[:, b, b] - 2 * cov[:, a, b]
        own = [part.variance[:, a] + part.variance[:, b] for part in (lot.seeds, lot.interaction)]
        squares = [
            part.variance[:, a] ** 2 + part.variance[:, b] ** 2
            for part in (lot.seeds, lot.interaction)
        ]
        pooled = [
            2 * part.variance.mean(axis=1, keepdims=True) * np.ones_like(delta)
            for part in (lot.seeds, lot.interaction)
        ]
        freedom = num_seeds - 1
        p_own, half = _classic(delta, clusters, own, [s / freedom for s in squares])
        noise = [part**2 / (freedom * shifts_V.size) for part in pooled]
        p_pooled, _ = _classic(delta, clusters, pooled, noise)
        different = _holm(np.maximum(p_own, p_pooled)) <= ALPHA
        lots.append((delta, different, np.zeros_like(different), half))
    return Judged(
        shifts_V[b] - shifts_V[a], *(np.concatenate(parts) for parts in zip(*lots, strict=True))
    )


def _classic(
    delta: Array, clusters: Array, parts: Sequence[Array], noise: Sequence[Array]
) -> tuple[Array, Array]:
    """p, and half the width of the 95 % interval."""
    (seeds, interaction), (of_seeds, of_interaction) = parts, noise
    num = NUM_SPEAKERS - 1
    more = seeds > interaction
    variance = clusters + np.where(more, seeds - interaction, 0.0)
    total = clusters**2 / num + np.where(more, of_seeds + of_interaction / num, 0.0)
    df, se = np.maximum(1.0, variance**2 / total), np.sqrt(variance)
    return 2 * special.stdtr(df, -np.abs(delta) / se), special.stdtrit(df, 0.975) * se


def _holm(p: Array) -> Array:
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(steps, axis=1), axis=1)
    return adjusted


@dataclass(frozen=True)
class Sequential:
    """Studies with planned looks, to their end."""

    judged: Judged
    seeds: Array
    """[E, V]: runs of each system."""
    seeds_for_claims: Array
    """[E, V]: when every claim was decided, or had no look left."""


def sequential(
    model: Model, num_studies: int, shifts_V: Array, plan: Plan, claims_P: Array, seed: int = 0
) -> Sequential:
    """Seeds are added, look by look, to the systems that have an open pair, claims first."""
    rng = np.random.default_rng(seed)
    lots: list[Decisions] = []
    counts, for_claims = [], []
    for start in range(0, num_studies, AT_ONCE):
        size = min(AT_ONCE, num_studies - start)
        errors, words_C = model.draw(rng, size, shifts_V, plan.looks[-1])
        seeds_EV = np.full((size, shifts_V.size), plan.looks[0])
        state: Decisions | None = None
        claims_EV = seeds_EV
        while True:
            state = decide(_estimates(errors, words_C, seeds_EV), seeds_EV, plan, state, claims_P)
            more_EV = plan.next_seeds(seeds_EV, state, claims_P)
            if (more_EV == seeds_EV).all():
                break
            going = (state.outcome == OPEN) & (state.stage < len(plan.looks) - 1) & claims_P
            claims_EV = np.where(going.any(axis=1, keepdims=True), more_EV, claims_EV)
            seeds_EV = more_EV
        lots.append(state)
        counts.append(seeds_EV)
        for_claims.append(claims_EV)
    a, b = np.triu_indices(shifts_V.size, 1)
    outcome = np.concatenate([lot.outcome for lot in lots])
    judged = Judged(
        gaps=shifts_V[b] - shifts_V[a],
        delta=np.concatenate([lot.estimate.value for lot in lots]),
        different=outcome == DIFFERENT,
        equivalent=outcome == EQUIVALENT,
        half_width=np.concatenate([lot.half_width for lot in lots]),
    )
    return Sequential(judged, np.concatenate(counts), np.concatenate(for_claims))


def _estimates(errors: Array, words_C: Array, seeds_EV: Array) -> Estimate:
    """The differences in studies whose systems have different numbers of seeds, those alike at
    once."""
    rng = np.random.default_rng(0)
    num_pairs = seeds_EV.shape[1] * (seeds_EV.shape[1] - 1) // 2
    value = np.zeros((len(errors), num_pairs))
    variances = [Component(value.copy(), value.copy()) for _ in range(2)]
    patterns, of_study = np.unique(seeds_EV, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        own = np.flatnonzero(of_study.ravel() == number)
        runs = [errors[own, v, :num] for v, num in enumerate(pattern)]
        value[own], splits = differences(estimate_systems(runs, words_C, rng))
        for into, split in zip(variances, splits, strict=True):
            into.variance[own], into.noise[own] = split.total.variance, split.total.noise
    return Estimate(value, variances)


def unplanned(model: Model, num_studies: int, seed: int = 0) -> float:
    """How often two equal systems are found different by who looks at LOOKS and stops at p < 5 %."""
    rng = np.random.default_rng(seed)
    errors, words_C = model.draw(rng, num_studies, np.zeros(2), LOOKS[-1])
    found = np.zeros(num_studies, dtype=bool)
    for num in LOOKS:
        lot = estimate_systems([errors[:, v, :num] for v in range(2)], words_C, rng)
        found |= judge(lot, np.zeros(1, dtype=bool)).different[:, 0]
    return float(found.mean())
