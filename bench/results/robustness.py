"""Does a lead survive noise, babble and a room? A study's confirm runs under its test conditions.

All conditions have the same utterances, words and runs, so what is compared is paired. Two families
of tests, each adjusted after Holm, apart from that of the first verdict:

gaps      WER of b minus WER of a, of every pair under every condition
changes   of every pair, how the gap changes with the level of each kind of noise (the least-squares
          slope over its signal-to-noise ratios, for 10 dB less), or from the recordings as they are
          to a room: the interaction of system and condition

Both are linear in the errors of runs and speakers, so the variance of each over seeds and speakers
is that of `estimate_systems` for these sums.

Legend: S runs, C clusters (speakers), P pairs, M tests of a family.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.results.comparison import StudyComparison
from bench.results.confirmed import confirm_runs, scored_again
from bench.results.counts import SystemRuns
from bench.results.pairs import counts_by_speaker, summarise
from bench.results.sentences import UNDECIDED, who_is_better
from bench.runs import Tables
from bench.stats.clusters import Floats
from bench.stats.estimate import Estimate
from bench.stats.multiplicity import holm
from bench.stats.variance import differences, estimate_systems
from bench.study.definition import StudyDefinition
from bench.study.robustness import RobustnessPlan, load_plan, scores_file
from reports.columns import Interval
from reports.format import some
from reports.input import ConditionChange, ConditionGap, ConditionRate, Robustness

CLEAN = "as recorded"
STEP_DB = 10.0
"""Changes with the level are those for this many dB less."""
MAX_LEADS = 5
"""Leads that have a sentence; the tables have all."""
_some = partial(some, most=4, separator="; ")
UNPLANNED = (
    "Looks were planned for the recordings as they are alone; how many seeds these tests have "
    "depends on what they found, so their error rate is not known."
)


_Errors = Mapping[str, Sequence[Floats]]
"""By condition, errors [S, C] of each system."""


@dataclass(frozen=True)
class _Tested:
    """A pair in one test of a family."""

    a: str
    b: str
    value: Interval
    coverage: float
    """Of the interval, adjusted."""
    p_adjusted: float

    @property
    def leaves_out_zero(self) -> bool:
        """True if the interval does; unknown ends do not."""
        _, low, high = self.value
        return low > 0 or high < 0


def robustness(
    folder: Path, definition: StudyDefinition, tables: Tables, first: StudyComparison
) -> Robustness | None:
    """What the conditions say of the study in `folder`, of which `first` is the comparison on the
    recordings as they are; None where it was not tested under any, or not every scored run was."""
    plan = load_plan(folder)
    if plan is None:
        return None
    systems = first.system_runs
    by_condition: dict[str, Sequence[SystemRuns]] = {CLEAN: systems}
    for condition in plan.conditions:
        scored = scored_again(tables, partial(scores_file, folder, condition=condition))
        if scored.empty or set(scored["run"]) != set(tables.utterances["run"]):
            return None
        runs, _ = confirm_runs(definition, replace(tables, utterances=scored))
        by_condition[condition.title] = runs
    words_C = counts_by_speaker(systems)[1]
    errors = {title: counts_by_speaker(runs)[0] for title, runs in by_condition.items()}
    gaps: tuple[ConditionGap, ...] = ()
    changes: tuple[ConditionChange, ...] = ()
    if len(systems) > 1:
        gaps = tuple(_gaps(errors, words_C, plan, systems, definition.seed))
        changes = tuple(_changes(errors, words_C, plan, systems, definition.seed))
    sentences = lead_sentences(first.pairs, gaps, changes)
    return Robustness(
        name=plan.name,
        rates=tuple(_rates(by_condition, plan, definition.seed)),
        gaps=gaps,
        changes=changes,
        sentences=(*sentences, *([] if definition.plan is None else [UNPLANNED])),
    )


def _rates(
    by_condition: Mapping[str, Sequence[SystemRuns]], plan: RobustnessPlan, seed: int
) -> Iterator[ConditionRate]:
    known = {condition.title: condition for condition in plan.conditions}
    for title, system_runs in by_condition.items():
        condition = known.get(title)
        rng = numpy_generator(seed, "bootstrap")  # as of the verdict, so that its rates stand here
        for row in summarise(system_runs, rng).to_dict("records"):
            yield ConditionRate(
                condition=title,
                kind=CLEAN if condition is None else condition.kind,
                snr_db=None if condition is None else condition.snr_db,
                system=str(row["name"]),
                wer=(float(row["wer"]), float(row["low"]), float(row["high"])),
            )


def _gaps(
    errors: _Errors, words_C: Floats, plan: RobustnessPlan, systems: Sequence[SystemRuns], seed: int
) -> Iterator[ConditionGap]:
    narrow = {system.name for system in systems if system.edges}
    titles = [condition.title for condition in plan.conditions]
    tested = _family([errors[title] for title in titles], words_C, systems, seed)
    for title, tests in zip(titles, tested, strict=True):
        for test in tests:
            verdict = UNDECIDED
            if test.leaves_out_zero:
                verdict = who_is_better(test.a, test.b, test.value[0], narrow)
            yield ConditionGap(
                condition=title,
                a=test.a,
                b=test.b,
                gap=test.value,
                coverage=test.coverage,
                p_adjusted=test.p_adjusted,
                verdict=verdict,
            )


def _changes(
    errors: _Errors, words_C: Floats, plan: RobustnessPlan, systems: Sequence[SystemRuns], seed: int
) -> Iterator[ConditionChange]:
    weights = dict(_contrasts(plan))
    sums = [
        [
            sum((w * errors[title][place] for title, w in own.items()), np.zeros(()))
            for place in range(len(systems))
        ]
        for own in weights.values()
    ]
    for what, tests in zip(weights, _family(sums, words_C, systems, seed), strict=True):
        for test in tests:
            yield ConditionChange(
                what=what,
                a=test.a,
                b=test.b,
                change=test.value,
                coverage=test.coverage,
                p_adjusted=test.p_adjusted,
                differs=test.leaves_out_zero,
            )


def _contrasts(plan: RobustnessPlan) -> Iterator[tuple[str, dict[str, float]]]:
    """What changes, and the weight of each condition in it: of a kind with several levels the slope
    for STEP_DB less, of another the difference from CLEAN."""
    for kind in dict.fromkeys(condition.kind for condition in plan.conditions):
        own = [condition for condition in plan.conditions if condition.kind == kind]
        levels = np.array([np.nan if c.snr_db is None else c.snr_db for c in own])
        if len(own) > 1 and np.isfinite(levels).all():
            # The least-squares slope of the gap over the levels is a weighted sum of the gaps, so
            # it has a variance like any sum of errors: at 20, 10, 5 and 0 dB, for 10 dB less,
            # the weights are -0.51, -0.06, 0.17 and 0.40.
            centred = levels - levels.mean()
            slope = -STEP_DB * centred / np.square(centred).sum()
            weights = dict(zip([c.title for c in own], slope.tolist(), strict=True))
            yield f"{kind}, {STEP_DB:g} dB less", weights
        else:
            for condition in own:
                yield condition.title, {condition.title: 1.0, CLEAN: -1.0}


def _family(
    errors: Sequence[Sequence[Floats]], words_C: Floats, systems: Sequence[SystemRuns], seed: int
) -> list[list[_Tested]]:
    """Of each test of a family its pairs, from sums of errors [S, C] of each system."""
    estimates = []
    for own in errors:
        # The generator begins anew, so that all tests draw the same replicates of speakers.
        rng = numpy_generator(seed, "paired bootstrap")
        delta, splits = differences(estimate_systems(own, words_C, rng))
        estimates.append(Estimate(delta, [split.total for split in splits]))
    p_MP = np.array([estimate.p() for estimate in estimates])
    # All pairs of all tests are one family: Holm's method takes the M * P p-values in a row.
    levels = holm(p_MP.ravel())
    adjusted_MP, level_MP = (part.reshape(p_MP.shape) for part in (levels.p_adjusted, levels.level))
    pairs = list(combinations([system.name for system in systems], 2))
    return [
        [
            _Tested(a, b, (value, value - half, value + half), 1 - level, adjusted)
            for (a, b), value, half, level, adjusted in zip(
                pairs,
                estimate.value.tolist(),
                estimate.half_width(level_P).tolist(),
                level_P.tolist(),
                adjusted_P.tolist(),
                strict=True,
            )
        ]
        for estimate, level_P, adjusted_P in zip(estimates, level_MP, adjusted_MP, strict=True)
    ]


def lead_sentences(
    pairs: pd.DataFrame, gaps: Sequence[ConditionGap], changes: Sequence[ConditionChange]
) -> Iterator[str]:
    """Of MAX_LEADS leads of the first verdict, claims first, where it is found again, and what
    changes it."""
    leads = [row for row in pairs.to_dict("records") if str(row["verdict"]).endswith(" better")]
    leads.sort(key=lambda row: not row["claim"])
    for row in leads[:MAX_LEADS]:
        of_pair = [gap for gap in gaps if (gap.a, gap.b) == (row["a"], row["b"])]
        if not of_pair:
            continue
        leader = str(row["verdict"]).removesuffix(" better")
        other = row["b"] if leader == row["a"] else row["a"]
        lost = [gap.condition for gap in of_pair if gap.verdict != row["verdict"]]
        turned = [gap.condition for gap in of_pair if gap.verdict == f"{other} better"]
        text = f"{leader} leads {other} in {len(of_pair) - len(lost)} of {len(of_pair)} conditions"
        if turned:
            text += f", and is behind in {_some(turned)}"
        if unseen := [title for title in lost if title not in turned]:
            text += f"; undecided in {_some(unseen)}"
        own = [c.what for c in changes if (c.a, c.b) == (row["a"], row["b"]) and c.differs]
        text += (
            f". The gap changes with {_some(own)}." if own else ". No change of the gap is found."
        )
        yield text
    if more := len(leads) - len(leads[:MAX_LEADS]):
        yield f"The report's tables have {more} more lead{'s' * (more > 1)}."
    if not leads:
        yield "No system leads on the recordings as they are, so there is no lead to lose."
