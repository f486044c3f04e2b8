"""Sample decodes: the same test utterances for every system, word by word beside what was said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reports.alignment import Step, align, num_errors
from reports.columns import word_errors
from reports.format import text
from reports.input import ReportInput
from reports.palette import system_names

TITLE = "Sample decodes"

NUM_SHOWN = 200
NUM_OPEN = 10
"""Of each group; the others fold away."""
MAX_WORDS = 200
"""Of a longer transcript only the beginning is aligned and shown."""
LINE_LETTERS = 68
"""Words go to a further line of the same utterance beyond so many letters."""


@dataclass(frozen=True)
class Cell:
    """One word of a row, or the gap where another row has an inserted word (`operation` is "")."""

    operation: str
    word: str


@dataclass(frozen=True)
class Row:
    """One hypothesis."""

    system: str
    num_errors: int


@dataclass(frozen=True)
class Decode:
    """An utterance, its reference, and the rows aligned with it."""

    id: str
    speaker: str
    seconds: float
    num_ref_words: int
    rows: tuple[Row, ...]
    lines: tuple[tuple[tuple[Cell, ...], ...], ...]
    """Columns of words, in lines; a column's first cell is the reference's, then one a row."""
    was_cut: bool
    spread: float
    """Errors of the worst row minus those of the best, per word of the reference."""
    searched: str
    """What the filter looks through."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    groups: tuple[tuple[str, tuple[Decode, ...]], ...]
    """ "apart" (where systems differ most), "worst", "median" and "best", or one without a name
    if all utterances are shown."""
    seeds: tuple[tuple[str, int], ...]
    """Each system shown, and the seed of the confirm run."""
    num_utterances: int


def numbers(report_input: ReportInput) -> Numbers:
    """Decodes of each system's first confirm run, for utterances that all of them scored."""
    tables, seeds = {}, []
    for system in system_names(report_input):
        own = report_input.utterances
        own = own[own["system"] == system]
        if own.empty:
            continue
        first = own[own["run"] == own["run"].min()].drop_duplicates("id").set_index("id")
        tables[system] = first
        seeds.append((system, int(first["seed"].iloc[0])))
    if not tables:
        return Numbers((), (), 0)
    shared = set.intersection(*(set(table.index) for table in tables.values()))
    groups = tuple(
        (group, tuple(_decode(id, tables) for id in ids))
        for group, ids in choose(list(tables.values()), shared).items()
        if ids
    )
    return Numbers(groups, tuple(seeds), len(shared))


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    num_shown = sum(len(decodes) for _, decodes in numbers.groups)
    return {"num_shown": num_shown, "num_open": NUM_OPEN}


def choose(tables: Sequence[pd.DataFrame], shared: set[str]) -> dict[str, list[str]]:
    """Which utterances are shown: ids by group, the hardest first.

    Those about which systems differ most; of the others the worst, the middle and the best by the
    errors of all systems together, so that no system's bad luck chooses; ties by id.
    """
    ids = sorted(shared)
    errors = pd.concat([word_errors(table.loc[ids]) for table in tables], axis=1)
    words = tables[0].loc[ids, "num_ref_words"].clip(lower=1)
    hardest_first = list((errors.sum(axis=1) / words).sort_values(kind="stable").index)[::-1]
    if len(ids) <= NUM_SHOWN:
        return {"": hardest_first}
    size = NUM_SHOWN // 4
    spread = (errors.max(axis=1) - errors.min(axis=1)) / words
    apart = [id for id in spread.sort_values(kind="stable").index[::-1][:size] if spread[id]]
    rest = [id for id in hardest_first if id not in apart]
    middle = (len(rest) - size) // 2
    groups = {"worst": rest[:size], "median": rest[middle : middle + size], "best": rest[-size:]}
    return {"apart": apart, **groups}


def columns_of(ref: Sequence[str], alignments: Sequence[Sequence[Step]]) -> list[tuple[Cell, ...]]:
    """Alignments of several hypotheses with one reference, equal places below each other."""
    #     reference      turn   off   .      the    lights
    #     system a       turn   off   all    the    light
    #     system b       turn   of    .      the    lights
    #
    # An insertion of one row is a column of its own, with gaps (".") in the others; so words of one
    # place of the reference stay below each other.
    inserted = [_insertions(steps, len(ref)) for steps in alignments]
    paired = [[step for step in steps if step.operation != "insertion"] for steps in alignments]
    gap = Cell("", "")
    columns = []
    for place in range(len(ref) + 1):
        for extra in range(max((len(words[place]) for words in inserted), default=0)):
            cells = (
                Cell("insertion", words[place][extra]) if extra < len(words[place]) else gap
                for words in inserted
            )
            columns.append((gap, *cells))
        if place < len(ref):
            cells = (Cell(row[place].operation, row[place].hyp or ref[place]) for row in paired)
            columns.append((Cell("match", ref[place]), *cells))
    return columns


def _insertions(steps: Sequence[Step], num_words: int) -> list[list[str]]:
    """The words inserted before each word of the reference, and at its end."""
    before: list[list[str]] = [[] for _ in range(num_words + 1)]
    place = 0
    for step in steps:
        if step.operation == "insertion":
            before[place].append(step.hyp)
        else:
            place += 1
    return before


def _lines(columns: Sequence[tuple[Cell, ...]]) -> tuple[tuple[tuple[Cell, ...], ...], ...]:
    """Columns cut into lines of about LINE_LETTERS letters."""
    lines: list[list[tuple[Cell, ...]]] = [[]]
    letters = 0
    for column in columns:
        width = 1 + max(len(cell.word) for cell in column)
        if lines[-1] and letters + width > LINE_LETTERS:
            lines.append([])
            letters = 0
        lines[-1].append(column)
        letters += width
    return tuple(tuple(line) for line in lines)


def _decode(id: str, tables: Mapping[str, pd.DataFrame]) -> Decode:
    utterance = next(iter(tables.values())).loc[id].to_dict()
    ref = str(utterance["ref"]).split()
    hyps = {system: str(table.loc[id, "hyp"]).split() for system, table in tables.items()}
    alignments = {v: align(ref[:MAX_WORDS], hyp[:MAX_WORDS]) for v, hyp in hyps.items()}
    rows = tuple(Row(v, num_errors(steps)) for v, steps in alignments.items())
    errors = [row.num_errors for row in rows]
    texts = [id, utterance["speaker"], *(" ".join(words) for words in (ref, *hyps.values()))]
    return Decode(
        id=id,
        speaker=text(utterance["speaker"]),
        seconds=float(utterance["seconds"]),
        num_ref_words=len(ref),
        rows=rows,
        lines=_lines(columns_of(ref[:MAX_WORDS], list(alignments.values()))),
        was_cut=max(len(ref), *(len(hyp) for hyp in hyps.values())) > MAX_WORDS,
        spread=(max(errors) - min(errors)) / max(1, len(ref)),
        searched=" ".join(text(part) for part in texts).lower(),
    )
