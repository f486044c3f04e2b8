"""What the verdicts are worth, where the truth is known: thousands of made-up studies.

    python -m tests.simulation                # every table, as Markdown; minutes
    python -m tests.simulation --studies 500  # coarser

Six systems are trained with some seeds each and read by twelve test speakers of about 130 words.
MODELS make their word errors in five ways; in all of them a run's WER has a standard deviation of
2.5 points over seeds (pooled over the kept studies on `spoken`: 2.1), sampling of words included,
and a system's errors lean towards some speakers by 5 %. Claims are the three of the question
`cells`. "Before" is the procedure that these verdicts replaced: for each pair the larger p of its
own variance and the pooled one, Holm over all pairs, and beside it an unadjusted 95 % interval.

Legend: E studies, V systems, S seeds, C speakers, P pairs.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.looks import DIFFERENT, EQUIVALENT, LOOKS, SPENDING, Decisions, Plan, decide
from bench.stats.multiplicity import ALPHA
from bench.stats.variance import SystemEstimates, estimate_systems, rates
from bench.stats.verdict import MARGIN, judge

Array = np.ndarray
WER, NUM_SPEAKERS, WORDS_PER_SPEAKER = 0.27, 12, 133
SEEDS_SD, HEAVY_SD, LEANING = 0.0215, 0.0197, 0.05
"""Of a run's true rate; with the sampling of words, overdispersed in the heavy model, a run's WER
varies by 2.5 points."""
AT_ONCE = 500
A, B = np.triu_indices(6, 1)
CLAIMS = ((A == 0) & (B == 1)) | ((A == 3) & (B == 4)) | ((A == 1) & (B == 4))
NO_CLAIMS = np.zeros(A.size, dtype=bool)


def staircase(gap: float) -> Array:
    """True differences to WER [V] that put each claim, and some other pairs, `gap` apart."""
    return gap * np.array([1.0, 0.0, 0.0, 0.0, -1.0, -1.0])


@dataclass(frozen=True)
class Model:
    """How word errors come about."""

    title: str
    seeds: Callable[[np.random.Generator, tuple[int, ...]], Array]
    """Deviations [E, V, S] of runs from their system's rate."""
    speakers: Callable[[np.random.Generator, tuple[int, ...]], Array]
    """Relative deviations [E, C] of speakers."""
    overdispersion: float = 1.0
    """Variance of a speaker's errors over their mean."""

    def draw(
        self, rng: np.random.Generator, num_studies: int, shifts_V: Array, num_seeds: int
    ) -> tuple[Array, Array]:
        """Errors [E, V, S, C] of studies on one test set, and its words [C]."""
        shape = (num_studies, shifts_V.size, num_seeds)
        words_C = np.rint(WORDS_PER_SPEAKER * rng.lognormal(-0.125, 0.5, NUM_SPEAKERS)) + 20
        rate = WER * (
            1
            + self.speakers(rng, (num_studies, 1, 1, NUM_SPEAKERS))
            + rng.normal(0, LEANING, (num_studies, shifts_V.size, 1, NUM_SPEAKERS))
            + rng.normal(0, LEANING, (*shape, NUM_SPEAKERS))
        )
        rate = rate + self.seeds(rng, shape)[..., None] + shifts_V[:, None, None]
        mean = np.clip(rate, 0.005, 1.0) * words_C
        if self.overdispersion > 1:
            mean = rng.gamma(mean / (self.overdispersion - 1), self.overdispersion - 1)
        return rng.poisson(mean).astype(np.float64), words_C


def _normal_speakers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, 0.3, shape)


def _skewed_speakers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.4 * (rng.exponential(1.0, shape) - 1)


def _normal_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, SEEDS_SD, shape)


def _heavy_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return HEAVY_SD / np.sqrt(3) * rng.standard_t(3, shape)


def _diverging_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One run in thirty ends at a WER of 100 %."""
    return np.where(rng.random(shape) < 1 / 30, 1 - WER, _normal_seeds(rng, shape))


def _uneven_seeds(factor: float) -> Callable[[np.random.Generator, tuple[int, ...]], Array]:
    """The last system's scatter `factor` times as much, the pooled variance being the same."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        factors_V = np.where(np.arange(shape[1]) == shape[1] - 1, factor, 1.0)
        factors_V /= np.sqrt((factors_V**2).mean())
        return _normal_seeds(rng, shape) * factors_V[:, None]

    return draw


MODELS = {
    "normal": Model("normal seeds and speakers", _normal_seeds, _normal_speakers),
    "heavy": Model(
        "heavy-tailed seeds (t, 3 df), skewed speakers, overdispersed errors",
        _heavy_seeds, _skewed_speakers, 1.5,
    ),
    "uneven": Model("one system's seeds scatter twice as much", _uneven_seeds(2), _normal_speakers),
    "diverging": Model("one run in thirty diverges (100 %)", _diverging_seeds, _skewed_speakers),
}  # fmt: skip
WILD = Model("one system's seeds scatter four times as much", _uneven_seeds(4), _normal_speakers)


def studies(
    model: Model, num_studies: int, shifts_V: Array, num_seeds: int, seed: int
) -> Iterator[SystemEstimates]:
    """At most AT_ONCE at a time, each lot with a test set of its own."""
    rng = np.random.default_rng(seed)
    for start in range(0, num_studies, AT_ONCE):
        size = min(AT_ONCE, num_studies - start)
        errors, words_C = model.draw(rng, size, shifts_V, num_seeds)
        yield estimate_systems([errors[:, v] for v in range(shifts_V.size)], words_C, rng)


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


def sequential(
    model: Model, num_studies: int, shifts_V: Array, plan: Plan, claims_P: Array, seed: int = 0
) -> Sequential:
    """Seeds are added, look by look, to the systems that have an open pair."""
    rng = np.random.default_rng(seed)
    num_systems, lots, counts = shifts_V.size, [], []
    for start in range(0, num_studies, AT_ONCE):
        size = min(AT_ONCE, num_studies - start)
        errors, words_C = model.draw(rng, size, shifts_V, plan.looks[-1])
        seeds_EV = np.full((size, num_systems), plan.looks[0])
        state: Decisions | None = None
        for look, num in enumerate(plan.looks):
            if state is not None:
                going = state.open_systems(num_systems)
                seeds_EV = np.where(going, num, seeds_EV)
            state = _look(errors, words_C, seeds_EV, plan, state, claims_P, look)
        assert state is not None
        lots.append(state)
        counts.append(seeds_EV)
    a, b = np.triu_indices(num_systems, 1)
    outcome = np.concatenate([lot.outcome for lot in lots])
    judged = Judged(
        gaps=shifts_V[b] - shifts_V[a],
        delta=np.concatenate([lot.delta for lot in lots]),
        different=outcome == DIFFERENT,
        equivalent=outcome == EQUIVALENT,
        half_width=np.concatenate([lot.half_width for lot in lots]),
    )
    return Sequential(judged, np.concatenate(counts))


def _look(
    errors: Array,
    words_C: Array,
    seeds_EV: Array,
    plan: Plan,
    before: Decisions | None,
    claims_P: Array,
    look: int,
) -> Decisions:
    """One look at studies whose systems have different numbers of seeds, those alike at once."""
    rng = np.random.default_rng(0)
    names = ("outcome", "decided_at", "delta", "half_width", "coverage", "p_adjusted")
    parts: dict[str, Array] = {}
    patterns, of_study = np.unique(seeds_EV, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        own = np.flatnonzero(of_study.ravel() == number)
        made = estimate_systems(
            [errors[own, v, :num] for v, num in enumerate(pattern)], words_C, rng
        )
        state = (
            None
            if before is None
            else Decisions(look, **{name: getattr(before, name)[own] for name in names})
        )
        found = decide(made, plan, state, claims_P)
        for name in names:
            values = getattr(found, name)
            parts.setdefault(name, np.zeros((len(errors), *values.shape[1:]), values.dtype))
            parts[name][own] = values
    return Decisions(look + 1, **parts)


def unplanned(model: Model, num_studies: int, seed: int = 0) -> float:
    """How often two equal systems are found different by who looks at LOOKS and stops at p < 5 %."""
    rng = np.random.default_rng(seed)
    errors, words_C = model.draw(rng, num_studies, np.zeros(2), LOOKS[-1])
    found = np.zeros(num_studies, dtype=bool)
    for num in LOOKS:
        lot = estimate_systems([errors[:, v, :num] for v in range(2)], words_C, rng)
        found |= judge(lot, np.zeros(1, dtype=bool)).different[:, 0]
    return float(found.mean())


def percent(share: float, num: int | None = None) -> str:
    """With its standard error over `num` studies."""
    if num is None:
        return f"{100 * share:.0f}"
    return f"{100 * share:.1f} ± {100 * np.sqrt(max(share, 1 / num) * (1 - share) / num):.1f}"


def errors_table(num_studies: int) -> Iterator[str]:
    """Coverage and errors: every system equal, some equal, and pairs just at the margin."""
    yield "| model | seeds | 95 % of a pair | 95 % of a system | FWER before | FWER now, all pairs | FWER now, claims | some equal | falsely equivalent | intervals shown, jointly | contradictions |"
    yield "| --- | " + "---: | " * 10
    some, at_margin = np.array([0, 0, 0.05, 0.05, 0.1, 0.1]), MARGIN * np.arange(6.0)
    for name, model in (*MODELS.items(), ("wild", WILD)):
        for num_seeds in (3, 5, 10):
            zero = np.zeros(6)
            old = before(model, num_studies, zero, num_seeds)
            lots = list(studies(model, num_studies, zero, num_seeds, 0))
            free = now(model, num_studies, zero, num_seeds, NO_CLAIMS)
            claimed = now(model, num_studies, zero, num_seeds, CLAIMS)
            partly = now(model, num_studies, some, num_seeds, NO_CLAIMS)
            edge = now(model, num_studies, at_margin, num_seeds, NO_CLAIMS)
            all_of = (free, claimed, partly, edge)
            pair = np.mean([np.abs(j.delta - j.gaps) <= h for j, h in ((free, _unadjusted(lots)),)])
            yield (
                f"| {name} | {num_seeds} | {100 * pair:.1f} | "
                f"{100 * _system_coverage(lots):.1f} | "
                + " | ".join(
                    percent(j.false().any(axis=1).mean(), num_studies)
                    for j in (old, free, claimed, partly)
                )
                + f" | {percent(edge.falsely_equivalent().any(axis=1).mean(), num_studies)}"
                f" | {100 * free.covered().all(axis=1).mean():.1f}, "
                f"{100 * partly.covered().all(axis=1).mean():.1f}"
                f" | {sum(int(j.contradicted().sum()) for j in all_of)} |"
            )


def _unadjusted(lots: Sequence[SystemEstimates]) -> Array:
    return np.concatenate([judge(lot, NO_CLAIMS).estimate.half_width(0.05) for lot in lots])


def _system_coverage(lots: Sequence[SystemEstimates]) -> float:
    """Of the log intervals of single systems; the mean of the studies is the truth."""
    covered = []
    truth = np.concatenate([lot.wer for lot in lots]).mean()
    for lot in lots:
        split = rates(lot)
        t = special.stdtrit(split.total.degrees_of_freedom, 0.975)
        ratio = np.exp(t * np.sqrt(split.total.variance) / lot.wer)
        covered.append((lot.wer / ratio <= truth) & (truth <= lot.wer * ratio))
    return float(np.mean(covered))


def power_table(num_studies: int) -> Iterator[str]:
    """The share of true differences that are found."""
    yield "| model | gap, points | seeds | before, all pairs | now, all pairs | now, claims | now, the others after claims |"
    yield "| --- | " + "---: | " * 6
    for name, model in MODELS.items():
        for gap in (0.01, 0.02, 0.05, 0.10):
            for num_seeds in (3, 5, 10):
                shifts = staircase(gap)
                old = before(model, num_studies, shifts, num_seeds)
                free = now(model, num_studies, shifts, num_seeds, NO_CLAIMS)
                claimed = now(model, num_studies, shifts, num_seeds, CLAIMS)
                shares = (
                    old.power(gap, NO_CLAIMS | True), free.power(gap, NO_CLAIMS | True),
                    claimed.power(gap, CLAIMS), claimed.power(gap, ~CLAIMS),
                )  # fmt: skip
                yield (
                    f"| {name} | {100 * gap:.0f} | {num_seeds} | "
                    + " | ".join(map(percent, shares))
                    + " |"
                )


def equivalence_table(num_studies: int) -> Iterator[str]:
    """The share of equal systems that are found equivalent: two systems, and all of six."""
    yield "| model | seeds | two systems, equal | two, 1 point apart | six systems, all equal |"
    yield "| --- | " + "---: | " * 4
    for name, model in MODELS.items():
        for num_seeds in (5, 10, 20, 40):
            two = [
                now(model, num_studies, np.array([0, gap]), num_seeds, NO_CLAIMS[:1])
                for gap in (0.0, 0.01)
            ]
            six = now(model, num_studies, np.zeros(6), num_seeds, NO_CLAIMS)
            shares = [float(j.equivalent.mean()) for j in (*two, six)]
            yield f"| {name} | {num_seeds} | " + " | ".join(map(percent, shares)) + " |"


def looks_table(num_studies: int) -> Iterator[str]:
    """Planned looks at LOOKS by spending function; seeds are means over systems."""
    yield "| model | spending | error, two systems | unplanned | FWER, six, all pairs | FWER, six, claims | 2 points: power, seeds | 5 points | 10 points | claims of 5 points |"
    yield "| --- | --- | " + "---: | " * 8
    for name, model in MODELS.items():
        without = unplanned(model, num_studies)
        for spending in SPENDING:
            plan = Plan(spending=spending)
            two = sequential(model, num_studies, np.zeros(2), plan, NO_CLAIMS[:1])
            six = [
                sequential(model, num_studies, np.zeros(6), plan, claims).judged
                for claims in (NO_CLAIMS, CLAIMS)
            ]
            cells = [percent(j.false().any(axis=1).mean(), num_studies) for j in (two.judged, *six)]
            cells.insert(1, percent(without, num_studies))
            for gap in (0.02, 0.05, 0.10):
                pair = sequential(model, num_studies, np.array([0, gap]), plan, NO_CLAIMS[:1])
                share = pair.judged.power(gap, NO_CLAIMS[:1] | True)
                cells.append(f"{percent(share)}, {pair.seeds.mean():.1f}")
            claimed = sequential(model, num_studies, staircase(0.05), plan, CLAIMS)
            cells.append(
                f"{percent(claimed.judged.power(0.05, CLAIMS))}, {claimed.seeds.mean():.1f}"
            )
            yield f"| {name} | {spending} | " + " | ".join(cells) + " |"


def singles_table(num_studies: int) -> Iterator[str]:
    """How often equal recipes are told apart where runs are missing."""
    yield "| model | one run each: checkpoints told apart | one run against three | one of six with one run, the rest three |"
    yield "| --- | " + "---: | " * 3
    for name, model in MODELS.items():
        rng = np.random.default_rng(0)
        errors, words_C = model.draw(rng, num_studies, np.zeros(6), 3)
        cells = []
        for counts in ((1, 1), (1, 3), (1, 3, 3, 3, 3, 3)):
            own = [errors[:, v, :num] for v, num in enumerate(counts)]
            found = judge(estimate_systems(own, words_C, rng), NO_CLAIMS[: 15 if counts[2:] else 1])
            cells.append(percent(found.different.any(axis=1).mean(), num_studies))
        yield f"| {name} | " + " | ".join(cells) + " |"


TABLES = {
    "Coverage and errors, %": errors_table,
    "Power, %": power_table,
    "Equivalence within 2 points, %": equivalence_table,
    "Planned looks, %": looks_table,
    "Missing runs, %": singles_table,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000, help="made-up studies a cell")
    parser.add_argument(
        "--table", type=int, choices=range(1, 1 + len(TABLES)), help="this one only"
    )
    options = parser.parse_args()
    for number, (title, table) in enumerate(TABLES.items(), 1):
        if options.table in (None, number):
            print(f"\n**{title}** ({options.studies:,} studies a cell)\n", flush=True)
            for line in table(options.studies):
                print(line, flush=True)


if __name__ == "__main__":
    main()
