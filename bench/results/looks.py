"""Planned looks at a study: when one is due, what it decides, and how its record is read.

Legend: P pairs of systems.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.console import ProgressCallback
from bench.core.seeding import numpy_generator
from bench.results.confirmed import confirm_runs
from bench.results.counts import SystemRuns, counts_of
from bench.results.pairs import Claims, claimed_pairs, compare_pairs, summarise
from bench.results.sentences import UNDECIDED, who_is_better
from bench.runs import read_study
from bench.runs.record import timestamp
from bench.runs.state import has_ended
from bench.stats.component import Component
from bench.stats.estimate import Estimate
from bench.stats.looks import DIFFERENT, EQUIVALENT, OPEN, Decisions, Ints, Plan, decide
from bench.stats.variance import differences
from bench.stats.verdict import MARGIN
from bench.study.definition import StudyDefinition, run_folder
from bench.study.rounds import confirm_seeds, plan_sentence, read_looks, write_look
from bench.study.winner import trial_ends, winner
from reports.format import plural
from reports.looks import Look, PairAtLook


def next_look(folder: Path, definition: StudyDefinition) -> Look | None:
    """Take the look that is due at the study in `folder`, and record it; the caller holds the
    study's lease. Returns the last look, an earlier one if none is due; None for a study without a
    plan, and before the first."""
    if definition.plan is None:
        return None
    looks = read_looks(folder)
    seeds = confirm_seeds(definition, looks)
    if (looks and looks[-1].is_last) or not _all_ended(folder, definition, seeds):
        return looks[-1] if looks else None
    look = _look(folder, definition, definition.plan, looks, seeds)
    write_look(folder, look)
    return look


def _all_ended(folder: Path, definition: StudyDefinition, seeds: Mapping[str, int]) -> bool:
    """Whether every trial has ended, and every confirm run of systems whose search has found a
    setting."""
    for label, num in seeds.items():
        ends = trial_ends(folder, definition, label)
        if len(ends) < definition.budget.num_trials:
            return False
        confirms = range(0 if winner(ends, definition.budget.rungs) is None else num)
        if not all(has_ended(run_folder(folder, label, "confirm", slot)) for slot in confirms):
            return False
    return True


def _look(
    folder: Path,
    definition: StudyDefinition,
    plan: Plan,
    looks: Sequence[Look],
    seeds: Mapping[str, int],
) -> Look:
    system_runs, _ = confirm_runs(definition, read_study(folder), seeds)
    names = [system.name for system in system_runs]
    # With a single system there is no pair to decide, and nothing is added.
    found, more = None, np.array([seeds[name] for name in names])
    if len(names) > 1:
        claims = definition.question.claims if definition.question else ()
        claims_P = claimed_pairs(names, claims)
        seeds_V = more
        before = decisions_at(looks[-1], names) if looks else None
        estimate = _estimate(system_runs, numpy_generator(definition.seed, "bootstrap"))
        found = decide(estimate, seeds_V, plan, before, claims_P, margin_of(definition))
        more = plan.next_seeds(seeds_V, found, claims_P)
    # A system without a scored run is in no pair, and nothing is added to it.
    next_seeds = {**seeds, **dict(zip(names, map(int, more), strict=True))}
    return Look(
        number=len(looks) + 1,
        taken_at=timestamp(),
        seeds=dict(seeds),
        next_seeds=next_seeds,
        pairs=() if found is None else _pairs(names, claims_P, found),
    )


@dataclass(frozen=True, kw_only=True)
class PlannedLooks:
    """How the seeds of a study were planned, and what its looks have found so far."""

    study: str
    plan: Plan
    looks: tuple[Look, ...]

    @classmethod
    def of(cls, definition: StudyDefinition, looks: Sequence[Look]) -> "PlannedLooks | None":
        """Those of a study; None if it has no plan."""
        if definition.plan is None:
            return None
        return cls(study=definition.name, plan=definition.plan, looks=tuple(looks))

    @property
    def is_over(self) -> bool:
        """Whether every pair is decided or has no look left."""
        return bool(self.looks) and self.looks[-1].is_last

    @property
    def sentence(self) -> str:
        """The assumption behind the verdicts."""
        return (
            f"seeds were added by a plan ({plan_sentence(self.plan)}); "
            f"{plural(len(self.looks), 'look was', 'looks were')} taken, and each decided pair has "
            "the numbers of the look that decided it"
        )

    def decisions(self, system_runs: Sequence[SystemRuns], rng: np.random.Generator) -> Decisions:
        """What the last look has decided of each pair; before the first every pair is open, with
        what has been measured so far."""
        if self.looks:
            return decisions_at(self.looks[-1], [system.name for system in system_runs])
        estimate = _estimate(system_runs, rng)
        nan = np.full(estimate.value.shape, np.nan)
        none = np.zeros(estimate.value.shape, dtype=np.int64)
        return Decisions(
            look=0, outcome=none + OPEN, stage=none - 1, decided_at=none, estimate=estimate,
            p_adjusted=nan, level=nan, half_width=nan, coverage=nan,
        )  # fmt: skip


def judged(
    system_runs: Sequence[SystemRuns],
    rng: np.random.Generator,
    claims: Claims = (),
    margin: float = MARGIN,
    planned: PlannedLooks | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of `summarise` and `compare_pairs`, for a study's report and bench.compare alike;
    pairs of a study with `planned` looks are decided by these alone.

    Raises:
        UserError: fewer than two utterances.
    """
    systems = summarise(system_runs, rng)
    if planned is None or len(system_runs) < 2:
        return systems, compare_pairs(system_runs, rng, claims, margin, progress)
    decided = planned.decisions(system_runs, rng)
    pairs = compare_pairs(system_runs, rng, claims, margin, progress, decided)
    if not planned.is_over:
        going = pairs["verdict"] == UNDECIDED
        number = len(planned.looks) + 1
        pairs.loc[going, "remedy"] = f"look {number} of the plan has not been taken"
        pairs.loc[going, ["seeds_needed", "speakers_needed"]] = np.nan
    return systems, pairs


def margin_of(definition: StudyDefinition) -> float:
    """The margin of equivalence, as a fraction."""
    question = definition.question
    return MARGIN if question is None else question.margin_points / 100


def _estimate(system_runs: Sequence[SystemRuns], rng: np.random.Generator) -> Estimate:
    delta, splits = differences(counts_of(system_runs).estimates(rng))
    return Estimate(delta, [split.total for split in splits])


def _pairs(
    names: Sequence[str], claims_P: "np.ndarray[tuple[int], np.dtype[np.bool_]]", found: Decisions
) -> tuple[PairAtLook, ...]:
    p = found.estimate.p()
    return tuple(
        PairAtLook(
            a=a,
            b=b,
            claim=bool(claims_P[place]),
            outcome=int(found.outcome[place]),
            stage=int(found.stage[place]),
            decided_at=int(found.decided_at[place]) + 1,
            delta=float(found.estimate.value[place]),
            variances=tuple(
                (_known(part.variance[place]), _known(part.noise[place]))
                for part in found.estimate.variances
            ),
            p=_known(p[place]),
            p_adjusted=_known(found.p_adjusted[place]),
            level=float(found.level[place]),
            half_width=_known(found.half_width[place]),
            coverage=float(found.coverage[place]),
        )
        for place, (a, b) in enumerate(combinations(names, 2))
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def decisions_at(look: Look, names: Sequence[str]) -> Decisions:
    """What `look` has recorded, pairs [P] in the order of `names`; a pair that it did not have is
    open, with unknown numbers."""
    recorded = {(pair.a, pair.b): pair for pair in look.pairs}
    unknown = PairAtLook(
        a="", b="", claim=False, outcome=OPEN, stage=-1, decided_at=look.number, delta=math.nan,
        variances=((None, None), (None, None)), p=None, p_adjusted=None, level=math.nan,
        half_width=None, coverage=math.nan,
    )  # fmt: skip
    pairs = [recorded.get(pair, unknown) for pair in combinations(names, 2)]

    def numbers(values: Sequence[float | None]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.array([math.nan if value is None else value for value in values])

    def integers(values: Sequence[int]) -> Ints:
        return np.array(values, dtype=np.int64)

    # The record has the numbers of each pair when it was decided; they are not computed again,
    # since runs that were added later must not change a decision.
    variances = [
        Component(
            numbers([pair.variances[kind][0] for pair in pairs]),
            numbers([pair.variances[kind][1] for pair in pairs]),
        )
        for kind in range(2)
    ]
    return Decisions(
        look=look.number,
        outcome=integers([pair.outcome for pair in pairs]),
        stage=integers([pair.stage for pair in pairs]),
        decided_at=integers([pair.decided_at - 1 for pair in pairs]),
        estimate=Estimate(numbers([pair.delta for pair in pairs]), variances),
        p_adjusted=numbers([pair.p_adjusted for pair in pairs]),
        level=numbers([pair.level for pair in pairs]),
        half_width=numbers([pair.half_width for pair in pairs]),
        coverage=numbers([pair.coverage for pair in pairs]),
    )


def outcome_of(pair: PairAtLook, narrow: Collection[str]) -> str:
    """In words: "<name> better", "withheld", "equivalent" or "open"; `narrow` are the systems whose
    searched ranges were too narrow."""
    if pair.outcome == DIFFERENT:
        return who_is_better(pair.a, pair.b, pair.delta, narrow)
    return "equivalent" if pair.outcome == EQUIVALENT else "open"


def look_sentence(look: Look, narrow: Collection[str]) -> str:
    """What a look has decided, and how the study goes on; `narrow` as for `outcome_of`."""
    new = [pair for pair in look.pairs if not pair.is_open and pair.decided_at == look.number]
    still = sum(pair.is_open for pair in look.pairs)
    words = (f"{pair.a} : {pair.b} {outcome_of(pair, narrow)}" for pair in new)
    told = "; ".join(words) or "nothing new"
    more = {name: num for name, num in look.next_seeds.items() if num > look.seeds[name]}
    on = ", ".join(f"{name} gets {num}" for name, num in more.items())
    after = f"{on} seeds for the next look" if more else "the last look"
    return f"look {look.number}: {told}; {still} of {len(look.pairs)} pairs open; {after}"
