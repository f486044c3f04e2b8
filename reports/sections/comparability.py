"""Comparability: the conditions of a fair comparison, one by one; the claim; the data; how the runs
ended."""

from dataclasses import dataclass
from typing import Any

from reports.comparable import Check, checks
from reports.format import plural
from reports.input import ReportInput
from reports.markup import render
from reports.palette import STATES, variant_names

TITLE = "Comparability"


@dataclass(frozen=True)
class SplitRow:
    """How much speech a split holds."""

    split: str
    num_utterances: int
    num_speakers: int
    seconds: float


@dataclass(frozen=True)
class StateRow:
    """How the runs of one variant and kind ended; one count a state, in the order of STATES."""

    variant: str
    tone: int
    kind: str
    counts: tuple[int, ...]
    total: int


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    checks: tuple[Check, ...]
    claim: str
    """Empty, like its source, if the study tests none."""
    source: str
    answers: tuple[tuple[str, str], ...]
    """For each pair of the claim, "a below b" and what was found; then what else was."""
    corpus: str
    digest: str
    notes: tuple[str, ...]
    splits: tuple[SplitRow, ...]
    left_out: tuple[tuple[str, int], ...] | None
    """None if unknown."""
    states: tuple[StateRow, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The claim and its answers, the corpus in figures, and the states of all runs."""
    corpus, design = report_input.corpus, report_input.design
    question = design.get("question", {})
    return Numbers(
        checks=checks(report_input),
        claim=str(question.get("claim", "")),
        source=str(question.get("source", "")),
        answers=tuple(
            (f"{better} below {worse}", _answer(report_input, better, worse))
            for better, worse in question.get("better", ())
        )
        + tuple((str(matter), str(found)) for matter, found in design.get("findings", ())),
        corpus=str(corpus.get("name", "unknown")),
        digest=str(corpus.get("digest", "unknown")),
        notes=tuple(str(note) for note in corpus.get("notes", ())),
        splits=tuple(
            SplitRow(split, row["utterances"], row["speakers"], row["seconds"])
            for split, row in corpus.get("splits", {}).items()
        ),
        left_out=_counts(corpus["left_out"]) if "left_out" in corpus else None,
        states=_states(report_input),
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render(
        "sections/comparability.html",
        numbers=numbers,
        summary=_summary(numbers.checks),
        num_left_out=_total(numbers.left_out or ()),
    )


def _summary(found: tuple[Check, ...]) -> str:
    """How many conditions hold, in words."""
    good, bad = (sum(check.outcome == outcome for check in found) for outcome in ("good", "bad"))
    unknown = len(found) - good - bad
    told = (
        f"Of {len(found)} conditions of a fair comparison {good} {'holds' if good == 1 else 'hold'}"
    )
    told += f", {bad} {'does' if bad == 1 else 'do'} not" if bad else ""
    return told + (f"; {unknown} cannot be told." if unknown else ".")


def _counts(found: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((str(what), int(number)) for what, number in found.items() if number)


def _total(counts: tuple[tuple[str, int], ...]) -> str:
    return plural(sum(number for _, number in counts), "utterance")


def _answer(report_input: ReportInput, better: str, worse: str) -> str:
    """Whether the study found `better` to have the lower WER."""
    pairs = report_input.pairs
    about = pairs[pairs["a"].isin((better, worse)) & pairs["b"].isin((better, worse))]
    if about.empty:
        return "not compared yet"
    verdict = str(about["verdict"].iloc[0])
    return {f"{better} better": "found", f"{worse} better": "contradicted"}.get(verdict, verdict)


def _states(report_input: ReportInput) -> tuple[StateRow, ...]:
    runs, rows = report_input.runs, []
    for tone, variant in enumerate(variant_names(report_input)):
        own = runs[runs["variant"] == variant]
        for kind in dict.fromkeys(["trial", "confirm", *own["kind"]]):
            states = own.loc[own["kind"] == kind, "state"]
            counts = tuple(int((states == state).sum()) for state in STATES)
            rows.append(StateRow(variant, tone, str(kind), counts, len(states)))
    return tuple(rows)
