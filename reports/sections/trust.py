"""May it be trusted: the claim, what differs, what was held equal; the data; how the runs ended."""

from dataclasses import dataclass
from typing import Any

from reports.format import plural, setting
from reports.input import ReportInput
from reports.markup import render
from reports.palette import STATES, variant_names

TITLE = "Data and trust"


@dataclass(frozen=True)
class SystemRow:
    """What one row of the study is."""

    label: str
    tone: int
    variant: str
    settings: tuple[tuple[str, str], ...]
    difference: str
    """From the study's base: "base", the one key, or how many; "" where nothing was asked."""


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

    claim: str
    """Empty, like its source, if the study tests none."""
    source: str
    answers: tuple[tuple[str, str], ...]
    """For each pair of the claim, "a below b" and what was found; then what else was."""
    held_equal: str
    systems: tuple[SystemRow, ...]
    corpus: str
    digest: str
    notes: tuple[str, ...]
    splits: tuple[SplitRow, ...]
    left_out: tuple[tuple[str, int], ...]
    leakage: tuple[tuple[str, int], ...]
    """What a later split shares with an earlier one, and in how many utterances; no zeros."""
    states: tuple[StateRow, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The claim and its answers, the corpus in figures, and the states of all runs."""
    corpus, design = report_input.corpus, report_input.design
    question = design.get("question", {})
    return Numbers(
        claim=str(question.get("claim", "")),
        source=str(question.get("source", "")),
        answers=tuple(
            (f"{better} below {worse}", _answer(report_input, better, worse))
            for better, worse in question.get("better", ())
        )
        + tuple((str(matter), str(found)) for matter, found in design.get("findings", ())),
        held_equal=str(design.get("held_equal", "")),
        systems=_systems(report_input, str(question.get("base", ""))),
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


def _answer(report_input: ReportInput, better: str, worse: str) -> str:
    """Whether the study found `better` to have the lower WER."""
    pairs = report_input.pairs
    about = pairs[pairs["a"].isin((better, worse)) & pairs["b"].isin((better, worse))]
    if about.empty:
        return "not compared yet"
    verdict = str(about["verdict"].iloc[0])
    return {f"{better} better": "found", f"{worse} better": "contradicted"}.get(verdict, verdict)


def _systems(report_input: ReportInput, base: str) -> tuple[SystemRow, ...]:
    tones = {name: tone for tone, name in enumerate(variant_names(report_input))}
    rows = []
    for label, row in report_input.design.get("systems", {}).items():
        changes = row["changes"]
        difference = changes[0] if len(changes) == 1 else f"{len(changes)} things at once"
        if not changes:
            difference = "base" if label == base else "nothing" if base else ""
        settings = tuple((key, setting(value)) for key, value in row["settings"].items())
        rows.append(SystemRow(label, tones[label], row["variant"], settings, difference))
    return tuple(rows)


def _states(report_input: ReportInput) -> tuple[StateRow, ...]:
    runs, rows = report_input.runs, []
    for tone, variant in enumerate(variant_names(report_input)):
        own = runs[runs["variant"] == variant]
        for kind in dict.fromkeys(["trial", "confirm", *own["kind"]]):
            states = own.loc[own["kind"] == kind, "state"]
            counts = tuple(int((states == state).sum()) for state in STATES)
            rows.append(StateRow(variant, tone, str(kind), counts, len(states)))
    return tuple(rows)
