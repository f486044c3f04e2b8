"""Comparability: the conditions of a fair comparison, one by one; the claim; the data; how the runs
ended."""

from dataclasses import dataclass

from reports.columns import PairColumns, answer, rows_of
from reports.input import Condition, CorpusSummary, QuestionSummary, ReportInput
from reports.palette import STATES, system_names

TITLE = "Comparability"


@dataclass(frozen=True)
class StateRow:
    """How the runs of one system and kind ended; one count a state, in the order of STATES."""

    system: str
    kind: str
    counts: tuple[int, ...]
    total: int


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    conditions: tuple[Condition, ...]
    question: QuestionSummary | None
    answers: tuple[tuple[str, str], ...]
    """For each pair of the claim, "a below b" and its verdict; then the other findings."""
    corpus: CorpusSummary
    states: tuple[StateRow, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The claim and its answers, the corpus in figures, and the states of all runs."""
    question = report_input.design.question
    claims = question.better if question else ()
    pairs = rows_of(report_input.pairs, PairColumns)
    return Numbers(
        conditions=report_input.conditions,
        question=question,
        answers=(
            *((f"{a} below {b}", answer(pairs, a, b)) for a, b in claims),
            *report_input.design.findings,
        ),
        corpus=report_input.corpus,
        states=_states(report_input),
    )


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    return {"summary": _summary(numbers.conditions)}


def _summary(found: tuple[Condition, ...]) -> str:
    """How many conditions hold, in words."""
    good, bad = (sum(each.outcome == outcome for each in found) for outcome in ("good", "bad"))
    unknown = len(found) - good - bad
    told = (
        f"Of {len(found)} conditions of a fair comparison {good} {'holds' if good == 1 else 'hold'}"
    )
    told += f", {bad} {'does' if bad == 1 else 'do'} not" if bad else ""
    return told + (f"; {unknown} cannot be told." if unknown else ".")


def _states(report_input: ReportInput) -> tuple[StateRow, ...]:
    runs, rows = report_input.runs, []
    for system in system_names(report_input):
        own = runs[runs["system"] == system]
        for kind in dict.fromkeys(["trial", "confirm", *own["kind"]]):
            states = own.loc[own["kind"] == kind, "state"]
            counts = tuple(int((states == state).sum()) for state in STATES)
            rows.append(StateRow(system, str(kind), counts, len(states)))
    return tuple(rows)
