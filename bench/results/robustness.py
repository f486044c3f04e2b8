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
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.data.conditions import TestCondition
from bench.results.confirmed import confirm_runs
from bench.results.pairs import SystemRuns, counts_by_speaker, summarise
from bench.results.sentences import UNDECIDED, who_is_better
from bench.runs import Tables
from bench.runs.layout import ScoreLine, read_lines
from bench.stats.clusters import Floats
from bench.stats.estimate import Estimate
from bench.stats.multiplicity import holm
from bench.stats.variance import differences, estimate_systems
from bench.study.definition import StudyDefinition
from bench.study.robustness import RobustnessPlan, load_plan, scores_file
from reports.input import ConditionChange, ConditionGap, ConditionRate, Robustness

CLEAN = "as recorded"
STEP_DB = 10.0
"""Changes with the level are those for this many dB less."""
MAX_NAMED = 4
UNPLANNED = (
    "Looks were planned for the recordings as they are alone; how many seeds these tests have "
    "depends on what they found, so their error rate is not known."
)


@dataclass(frozen=True)
class _Tested:
    """One test of a family: the pairs' values, adjusted."""

    value_P: Floats
    half_P: Floats
    level_P: Floats
    adjusted_P: Floats


def robustness(
    folder: Path, definition: StudyDefinition, tables: Tables, pairs: pd.DataFrame
) -> Robustness | None:
    """What the conditions say of the study in `folder`; None where it was not tested under any, or
    not every scored run was. `pairs` are those of the first verdict."""
    plan = load_plan(folder)
    if plan is None:
        return None
    by_condition: dict[str, list[SystemRuns]] = {CLEAN: confirm_runs(definition, tables)[0]}
    for condition in plan.conditions:
        scored = _scored(folder, tables, condition)
        if scored.empty or set(scored["run"]) != set(tables.utterances["run"]):
            return None
        runs, _ = confirm_runs(definition, replace(tables, utterances=scored))
        by_condition[condition.title] = runs
    is_compared = len(by_condition[CLEAN]) > 1
    gaps = tuple(_gaps(by_condition, plan, definition.seed)) if is_compared else ()
    changes = tuple(_changes(by_condition, plan, definition.seed)) if is_compared else ()
    sentences = _sentences(pairs, gaps, changes)
    return Robustness(
        name=plan.name,
        rates=tuple(_rates(by_condition, plan)),
        gaps=gaps,
        changes=changes,
        sentences=(*sentences, *([] if definition.plan is None else [UNPLANNED])),
    )


def _scored(folder: Path, tables: Tables, condition: TestCondition) -> pd.DataFrame:
    """The table of test utterances as they were read under `condition`."""
    rows: list[dict[str, Any]] = []
    confirms = tables.runs[tables.runs["kind"] == "confirm"]
    for run in confirms.to_dict("records"):
        of_run = {key: run[key] for key in ("run", "system", "seed")}
        path = scores_file(folder, str(run["run"]), condition)
        rows += [{**dict(line), **of_run} for line in read_lines(path, ScoreLine)]
    return pd.DataFrame(rows, columns=list(tables.utterances.columns))


def _rates(
    by_condition: Mapping[str, Sequence[SystemRuns]], plan: RobustnessPlan
) -> Iterator[ConditionRate]:
    known = {condition.title: condition for condition in plan.conditions}
    for title, system_runs in by_condition.items():
        condition = known.get(title)
        for row in summarise(system_runs, np.random.default_rng(0)).to_dict("records"):
            yield ConditionRate(
                condition=title,
                kind=CLEAN if condition is None else condition.kind,
                snr_db=None if condition is None else condition.snr_db,
                system=str(row["name"]),
                wer=(float(row["wer"]), float(row["low"]), float(row["high"])),
            )


def _gaps(
    by_condition: Mapping[str, Sequence[SystemRuns]], plan: RobustnessPlan, seed: int
) -> Iterator[ConditionGap]:
    system_runs = by_condition[CLEAN]
    errors = {title: counts_by_speaker(runs)[0] for title, runs in by_condition.items()}
    words_C = counts_by_speaker(system_runs)[1]
    titles = [condition.title for condition in plan.conditions]
    tested = _family([errors[title] for title in titles], words_C, seed)
    for title, test in zip(titles, tested, strict=True):
        for place, (a, b) in enumerate(combinations(system_runs, 2)):
            gap, half = float(test.value_P[place]), float(test.half_P[place])
            verdict = UNDECIDED
            if abs(gap) > half:
                narrow = {system.name for system in (a, b) if system.edges}
                verdict = who_is_better(a.name, b.name, gap, narrow)
            yield ConditionGap(
                condition=title,
                a=a.name,
                b=b.name,
                gap=(gap, gap - half, gap + half),
                coverage=1 - float(test.level_P[place]),
                p_adjusted=float(test.adjusted_P[place]),
                verdict=verdict,
            )


def _changes(
    by_condition: Mapping[str, Sequence[SystemRuns]], plan: RobustnessPlan, seed: int
) -> Iterator[ConditionChange]:
    system_runs = by_condition[CLEAN]
    errors = {title: counts_by_speaker(runs)[0] for title, runs in by_condition.items()}
    words_C = counts_by_speaker(system_runs)[1]
    weights = dict(_contrasts(plan))
    sums = [
        [
            sum((w * errors[title][place] for title, w in own.items()), np.zeros(()))
            for place in range(len(system_runs))
        ]
        for own in weights.values()
    ]
    for what, test in zip(weights, _family(sums, words_C, seed), strict=True):
        for place, (a, b) in enumerate(combinations(system_runs, 2)):
            change, half = float(test.value_P[place]), float(test.half_P[place])
            yield ConditionChange(
                what=what,
                a=a.name,
                b=b.name,
                change=(change, change - half, change + half),
                coverage=1 - float(test.level_P[place]),
                p_adjusted=float(test.adjusted_P[place]),
                differs=abs(change) > half,
            )


def _contrasts(plan: RobustnessPlan) -> Iterator[tuple[str, dict[str, float]]]:
    """What changes, and the weight of each condition in it: of a kind with several levels the slope
    for STEP_DB less, of another the difference from CLEAN."""
    for kind in dict.fromkeys(condition.kind for condition in plan.conditions):
        own = [condition for condition in plan.conditions if condition.kind == kind]
        levels = np.array([np.nan if c.snr_db is None else c.snr_db for c in own])
        if len(own) > 1 and np.isfinite(levels).all():
            centred = levels - levels.mean()
            slope = -STEP_DB * centred / np.square(centred).sum()
            weights = dict(zip([c.title for c in own], slope.tolist(), strict=True))
            yield f"{kind}, {STEP_DB:g} dB less", weights
        else:
            for condition in own:
                yield condition.title, {condition.title: 1.0, CLEAN: -1.0}


def _family(errors: Sequence[Sequence[Floats]], words_C: Floats, seed: int) -> list[_Tested]:
    """Every pair in each test of a family, of sums of errors [S, C] of each system."""
    estimates = []
    for own in errors:
        rng = numpy_generator(seed, "paired bootstrap")
        delta, splits = differences(estimate_systems(own, words_C, rng))
        estimates.append(Estimate(delta, [split.total for split in splits]))
    p_MP = np.array([estimate.p() for estimate in estimates])
    levels = holm(p_MP.ravel())
    adjusted_MP, level_MP = (part.reshape(p_MP.shape) for part in (levels.p_adjusted, levels.level))
    return [
        _Tested(estimate.value, estimate.half_width(level_P), level_P, adjusted_P)
        for estimate, level_P, adjusted_P in zip(estimates, level_MP, adjusted_MP, strict=True)
    ]


def _sentences(
    pairs: pd.DataFrame, gaps: Sequence[ConditionGap], changes: Sequence[ConditionChange]
) -> Iterator[str]:
    """Of each lead of the first verdict, where it is found again, and what changes it."""
    leads = [row for row in pairs.to_dict("records") if str(row["verdict"]).endswith(" better")]
    for row in leads:
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
    if not leads:
        yield "No system leads on the recordings as they are, so there is no lead to lose."


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return "; ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
