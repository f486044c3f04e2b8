"""What the verdicts are worth, where the truth is known: thousands of made-up studies.

    python -m tests.simulation                # every table, as Markdown; minutes
    python -m tests.simulation --studies 500  # coarser

Six systems are trained with some seeds each and read by twelve test speakers of about 130 words.
MODELS make their word errors in five ways; in all of them a run's WER has a standard deviation of
2.5 points over seeds (the kept studies on `spoken`: 1.9), sampling of words included,
and a system's errors lean towards some speakers by 5 %. Claims are the three of the question
`cells`. "Before" is the procedure that these verdicts replaced: for each pair the larger p of its
own variance and the pooled one, Holm over all pairs, and beside it an unadjusted 95 % interval.

Legend: E studies, V systems, S seeds, C speakers, P pairs.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from bench.stats.looks import SPENDING, Plan
from bench.stats.variance import SystemEstimates, estimate_systems, rates
from bench.stats.verdict import MARGIN, judge
from tests.simulation.models import CLAIMS, MODELS, NO_CLAIMS, WILD, Array, staircase, studies
from tests.simulation.procedures import before, now, sequential, unplanned

SOME_EQUAL = np.array([0, 0, 0.05, 0.05, 0.1, 0.1])
"""Differences to WER of six systems: three pairs equal, the rest 5 or 10 points apart."""


def percent(share: float, num: int | None = None) -> str:
    """With its standard error over `num` studies."""
    if num is None:
        return f"{100 * share:.0f}"
    return f"{100 * share:.1f} ± {100 * np.sqrt(max(share, 1 / num) * (1 - share) / num):.1f}"


def errors_table(num_studies: int) -> Iterator[str]:
    """Coverage and errors: every system equal, some equal, and pairs just at the margin."""
    yield "| model | seeds | 95 % of a pair | 95 % of a system | FWER before | FWER now, all pairs | FWER now, claims | some equal | falsely equivalent | intervals shown, jointly | contradictions |"
    yield "| --- | " + "---: | " * 10
    some, at_margin = SOME_EQUAL, MARGIN * np.arange(6.0)
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
    """Planned looks at LOOKS, by spending function in the normal model; seeds are means over systems, those of claims when
    the last claim was decided."""
    yield "| model | spending | error, two systems | unplanned | FWER, six, all pairs | FWER, six, claims | some equal | 2 points: power, seeds | 5 points | 10 points | claims of 5 points | claims of 10 points |"
    yield "| --- | --- | " + "---: | " * 10
    for name, model in MODELS.items():
        without = unplanned(model, num_studies)
        for spending in SPENDING if name == "normal" else [Plan().spending]:
            plan = Plan(spending=spending)
            two = sequential(model, num_studies, np.zeros(2), plan, NO_CLAIMS[:1])
            six = [
                sequential(model, num_studies, shifts, plan, claims).judged
                for shifts, claims in (
                    (np.zeros(6), NO_CLAIMS),
                    (np.zeros(6), CLAIMS),
                    (SOME_EQUAL, CLAIMS),
                )
            ]
            cells = [percent(j.false().any(axis=1).mean(), num_studies) for j in (two.judged, *six)]
            cells.insert(1, percent(without, num_studies))
            for gap in (0.02, 0.05, 0.10):
                pair = sequential(model, num_studies, np.array([0, gap]), plan, NO_CLAIMS[:1])
                share = pair.judged.power(gap, NO_CLAIMS[:1] | True)
                cells.append(f"{percent(share)}, {pair.seeds.mean():.1f}")
            for gap in (0.05, 0.10):
                claimed = sequential(model, num_studies, staircase(gap), plan, CLAIMS)
                share = percent(claimed.judged.power(gap, CLAIMS))
                cells.append(f"{share}, {claimed.seeds_for_claims.mean():.1f}")
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
