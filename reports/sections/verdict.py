"""The verdict: one sentence, and tables of accuracy and costs. Readable without JavaScript."""

from dataclasses import dataclass

import pandas as pd

from reports.columns import PairColumns, SystemColumns, rows_of, seen_from
from reports.format import is_missing, plural, text
from reports.input import HeardSentence, ReportInput
from reports.palette import GOING_ON, system_names
from reports.scale import Estimate, Scale, scale_of, wer_of

TITLE = "Verdict"

FEW_SEEDS = 3
"""With fewer an interval is only a first estimate."""

FEW_NETWORKS = 4
"""Up to this number all networks' readings of the watch utterance are shown at once."""

FAILED_STATES = ("failed", "diverged")


@dataclass(frozen=True)
class AgainstBaseline:
    """WER of a system minus that of the baseline, and how sure that is."""

    difference: Estimate
    """With the interval that decided the verdict on the pair."""
    coverage: float
    """Of that interval."""
    p_adjusted: float
    probability_of_improvement: float
    """That a random seed of the system makes fewer errors than one of the baseline."""


class SystemRow(SystemColumns):
    """A system as the table of systems has it, its source at the end of its `summary`."""

    wer: Estimate
    against: AgainstBaseline | None
    """None of the baseline itself, and where one of the two has no WER."""
    real_time_factor: float
    """Of greedy recognition, one utterance at a time; NaN unless bench.speed measured it."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    sentence: str
    cautions: tuple[str, ...]
    """What limits the verdict, a sentence each."""
    broken: tuple[str, ...]
    """The conditions of a fair comparison that do not hold."""
    assumptions: tuple[str, ...]
    """Behind the verdicts, a sentence each."""
    baseline: str
    """What the differences are against: the question's base, else the first system."""
    systems: tuple[SystemRow, ...]
    scale: Scale | None
    heard: tuple[HeardSentence, ...]
    """The first watch utterance by each system's first confirm run, or by all if they are few."""
    more_heard: tuple[HeardSentence, ...]
    """The same by the other confirm runs."""


def numbers(report_input: ReportInput) -> Numbers:
    """The verdict, its tables, and the axes of their drawings."""
    baseline = baseline_of(report_input)
    systems = tuple(
        _system_row(row, report_input, baseline)
        for row in rows_of(report_input.systems, SystemColumns)
    )
    shown, more = split_heard(report_input.heard)
    return Numbers(
        sentence=report_input.verdict,
        cautions=cautions(report_input),
        broken=report_input.broken,
        assumptions=report_input.design.assumptions,
        baseline=baseline,
        systems=systems,
        scale=scale_of(value for row in systems for value in row["wer"].values()),
        heard=shown,
        more_heard=more,
    )


def split_heard(
    heard: tuple[HeardSentence, ...],
) -> tuple[tuple[HeardSentence, ...], tuple[HeardSentence, ...]]:
    """What is shown at once of `heard`, and the rest: all if there are at most FEW_NETWORKS, else
    the first network of each system."""
    if len(heard) <= FEW_NETWORKS:
        return heard, ()
    # The last to be entered stays: gone through backwards, the first of each system.
    firsts = {one.system: one for one in reversed(heard)}
    return (
        tuple(one for one in heard if one is firsts[one.system]),
        tuple(one for one in heard if one is not firsts[one.system]),
    )


def baseline_of(report_input: ReportInput) -> str:
    """The question's base, else the first system, else nothing."""
    names = system_names(report_input)
    question = report_input.design.question
    return question.base if question and question.base in names else next(iter(names), "")


def cautions(report_input: ReportInput) -> tuple[str, ...]:
    """In words: what is missing from the study, or failed in it."""
    runs, found = report_input.runs, []
    if stamp := report_input.design.stamp:
        found.append(stamp[0].upper() + stamp[1:] + ".")
    if runs.empty:
        return ("No run has been recorded yet: the study is empty.",)
    states = set(runs["state"])
    if len(states) == 1 and states <= {"failed", "diverged", "killed"}:
        found.append(f"Every run of the study {_ended(states.pop())}: nothing can be compared.")
    elif len(runs) == 1:
        found.append("The study holds a single run so far.")
    if going := int(runs["state"].isin(["running", "paused"]).sum()):
        found.append(
            f"{plural(going, 'run has', 'runs have')} not ended: the figures may still change."
        )
    elif not _is_over(report_input):
        found.append(
            "The study is not complete: it was interrupted. The command in section Reproduce runs "
            "what is left."
        )
    if without_end := _without_end(runs):
        found.append(without_end)
    if left_out := _left_out(report_input):
        found.append(left_out)
    if differ := report_input.costs_differ:
        found.append(f"Costs in seconds are not comparable, error rates are: {'; '.join(differ)}.")
    scored = runs[(runs["kind"] == "confirm") & runs["test_wer"].notna()]
    if scored.empty:
        found.append("No confirm run has been scored on the test split.")
    seeds = scored.groupby("system")["seed"].nunique()
    if len(seeds) and seeds.min() < FEW_SEEDS:
        fewest = plural(int(seeds.min()), "seed")
        found.append(f"An interval here rests on {fewest} only; take it as a first look.")
    if len(system_names(report_input)) == 1:
        found.append("There is one system, so there is nothing to compare it with.")
    return tuple(found)


def _is_over(report_input: ReportInput) -> bool:
    """Whether every trial, and every confirm run of a system that has a setting, has ended."""
    runs, budget = report_input.runs, report_input.budget
    ended = runs[~runs["state"].isin(GOING_ON)]
    for name in system_names(report_input):
        own = ended[ended["system"] == name]
        trials, confirms = own[own["kind"] == "trial"], own[own["kind"] == "confirm"]
        if trials["slot"].nunique() < budget.num_trials:
            return False
        planned = budget.seeds_of(name) if name in report_input.winners else 0
        if confirms["slot"].nunique() < planned:
            return False
    looks = report_input.looks
    return not report_input.design.plan or (bool(looks) and looks[-1].is_last)


def _without_end(runs: pd.DataFrame) -> str:
    """How many runs failed or diverged, if not all did: they count as planned and have no WER."""
    bad = runs[runs["state"].isin(FAILED_STATES)]
    if bad.empty or len(bad) == len(runs):
        return ""
    ends = ", ".join(f"{count} {state}" for state, count in bad["state"].value_counts().items())
    names = ", ".join(dict.fromkeys(map(str, bad["system"])))
    return f"{len(bad)} of {plural(len(runs), 'run')} did not finish: {ends} ({names})."


def _left_out(report_input: ReportInput) -> str:
    """How many utterances of the corpus no system was trained or scored on, and why."""
    corpus = report_input.corpus
    if not corpus.num_excluded:
        return ""
    count = plural(corpus.num_excluded, "utterance was", "utterances were")
    return f"{count} left out: {', '.join(f'{n} {why}' for why, n in corpus.excluded.items())}."


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    unmeasured = [row["system"] for row in numbers.systems if is_missing(row["real_time_factor"])]
    return {"unmeasured": unmeasured}


def _ended(state: str) -> str:
    return {"failed": "failed", "diverged": "diverged", "killed": "was killed"}[state]


def _system_row(row: SystemColumns, report_input: ReportInput, baseline: str) -> SystemRow:
    return {
        **row,
        "summary": ". Source: ".join(filter(None, (text(row["summary"]), text(row["source"])))),
        "wer": wer_of(row, report_input.runs),
        "against": _against(row["system"], baseline, report_input.pairs),
    }


def _against(name: str, baseline: str, pairs: pd.DataFrame) -> AgainstBaseline | None:
    for pair in rows_of(pairs, PairColumns):
        if {pair["a"], pair["b"]} != {name, baseline}:
            continue
        better = pair["probability_of_improvement"]  # that of a
        return AgainstBaseline(
            difference=Estimate(*seen_from(pair, baseline)),
            coverage=float(pair["coverage"]),
            p_adjusted=float(pair["p_adjusted"]),
            probability_of_improvement=better if pair["a"] == name else 1 - better,
        )
    return None
