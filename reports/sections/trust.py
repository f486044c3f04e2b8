"""May it be trusted: the data, what was left out or shared between splits, how the runs ended."""

from dataclasses import dataclass
from typing import Any

from reports.format import plural
from reports.input import ReportInput
from reports.markup import render
from reports.palette import STATES, variant_names

TITLE = "Data and trust"


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

    corpus: str
    digest: str
    notes: tuple[str, ...]
    splits: tuple[SplitRow, ...]
    left_out: tuple[tuple[str, int], ...]
    leakage: tuple[tuple[str, int], ...]
    """What a later split shares with an earlier one, and in how many utterances; no zeros."""
    states: tuple[StateRow, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The corpus in figures, and the states of all runs."""
    corpus = report_input.corpus
    return Numbers(
        corpus=str(corpus.get("name", "unknown")),
        digest=str(corpus.get("digest", "unknown")),
        notes=tuple(str(note) for note in corpus.get("notes", ())),
        splits=tuple(
            SplitRow(split, row["utterances"], row["speakers"], row["seconds"])
            for split, row in corpus.get("splits", {}).items()
        ),
        left_out=_counts(corpus.get("left_out", {})),
        leakage=_counts(corpus.get("leakage", {})),
        states=_states(report_input),
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/trust.html", numbers=numbers, num_left_out=_total(numbers.left_out))


def _counts(found: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((str(what), int(number)) for what, number in found.items() if number)


def _total(counts: tuple[tuple[str, int], ...]) -> str:
    return plural(sum(number for _, number in counts), "utterance")


def _states(report_input: ReportInput) -> tuple[StateRow, ...]:
    runs, rows = report_input.runs, []
    for tone, variant in enumerate(variant_names(report_input)):
        own = runs[runs["variant"] == variant]
        for kind in dict.fromkeys(["trial", "confirm", *own["kind"]]):
            states = own.loc[own["kind"] == kind, "state"]
            counts = tuple(int((states == state).sum()) for state in STATES)
            rows.append(StateRow(variant, tone, str(kind), counts, len(states)))
    return tuple(rows)
