"""Transcript progress: the transcripts of the watch utterances, evaluation by evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import pandas as pd

from reports.alignment import Operation, align, num_errors
from reports.charts import evenly
from reports.input import ReportInput
from reports.palette import system_names

TITLE = "Transcript progress"

MAX_EVALUATIONS = 60
"""Of a longer history so many evaluations are shown, evenly spaced, with the first and the last."""
MAX_LETTERS = 400
"""Of a longer transcript only the beginning is aligned and shown."""


@dataclass(frozen=True)
class Span:
    """Consecutive letters with the same edit operation; of a deletion, the missing letters."""

    operation: Operation
    letters: str


@dataclass(frozen=True)
class Transcript:
    """The transcript by one network after an epoch."""

    epoch: int
    spans: tuple[Span, ...]
    cer: float
    """Letter errors over reference letters; may exceed 1."""


@dataclass(frozen=True)
class Utterance:
    """A watch utterance, and after each epoch one transcript a source (None: not evaluated)."""

    id: str
    ref: str
    history: tuple[tuple[int, tuple[Transcript | None, ...]], ...]


@dataclass(frozen=True)
class Source:
    """The run that a system's transcripts come from."""

    system: str
    label: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    sources: tuple[Source, ...]
    epochs: tuple[int, ...]
    utterances: tuple[Utterance, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The watch transcripts of each system's first confirm run, or else of its first trial."""
    sources, tables = [], []
    for system in system_names(report_input):
        own = report_input.watch[report_input.watch["system"] == system]
        if own.empty:
            continue
        kind = "confirm" if (own["kind"] == "confirm").any() else own["kind"].iloc[0]
        own = own[own["kind"] == kind]
        first = own[own["run"] == own["run"].min()]
        label = f"{'confirm run' if kind == 'confirm' else kind}, seed {first['seed'].iloc[0]}"
        sources.append(Source(system, label))
        # An evaluation in the middle of an epoch (time was over) counts as that epoch's.
        tables.append(first.assign(epoch=first["epoch"].astype(float).map(math.ceil)))
    if not tables:
        return Numbers((), (), ())
    every = sorted({int(epoch) for table in tables for epoch in table["epoch"]})
    epochs = [every[place] for place in evenly(len(every), MAX_EVALUATIONS)]
    refs = pd.concat(tables).drop_duplicates("id").set_index("id")["ref"]
    utterances = (_utterance(str(id), str(ref), tables, epochs) for id, ref in refs.items())
    return Numbers(tuple(sources), tuple(epochs), tuple(utterances))


@cache
def spans_of(ref: str, hyp: str) -> tuple[tuple[Span, ...], int]:
    """`hyp` aligned letter by letter with `ref`, and the number of errors."""
    steps = align(ref, hyp)
    spans = (
        Span(operation, "".join(step.hyp or step.ref for step in run))
        for operation, run in groupby(steps, key=lambda step: step.operation)
    )
    return tuple(spans), num_errors(steps)


def _utterance(
    id: str, ref: str, tables: Sequence[pd.DataFrame], epochs: Sequence[int]
) -> Utterance:
    shown = ref[:MAX_LETTERS]
    hyps = [_by_epoch(table[table["id"] == id]) for table in tables]
    history = (
        (epoch, tuple(_transcript(epoch, shown, of_source) for of_source in hyps))
        for epoch in epochs
    )
    return Utterance(id, shown, tuple(history))


def _by_epoch(rows: pd.DataFrame) -> dict[int, str]:
    return {int(epoch): str(hyp) for epoch, hyp in zip(rows["epoch"], rows["hyp"], strict=True)}


def _transcript(epoch: int, ref: str, hyps: Mapping[int, str]) -> Transcript | None:
    if epoch not in hyps:
        return None
    spans, errors = spans_of(ref, hyps[epoch][:MAX_LETTERS])
    return Transcript(epoch, spans, errors / max(1, len(ref)))
