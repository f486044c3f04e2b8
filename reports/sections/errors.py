"""Error analysis: kinds of errors, error rates by utterance length and by frequency of the word in
train, and the most frequent confusions."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from reports.alignment import Step, align
from reports.columns import word_errors
from reports.input import ReportInput
from reports.palette import system_names

TITLE = "Error analysis"

FEWEST_WORDS = 20
"""The rate of a bin with fewer reference words is shown faint."""
MAX_ALIGNED = 4_000
"""So many scored utterances of a system are aligned, spread evenly over all."""
NUM_CONFUSIONS = 8
LENGTHS = ((1, 2), (3, 5), (6, 10), (11, 20), (21, math.inf))
SECONDS = ((0, 2), (2, 5), (5, 10), (10, 20), (20, math.inf))
COUNTS = ((0, 0), (1, 4), (5, 19), (20, 99), (100, math.inf))


@dataclass(frozen=True)
class Cell:
    """An error rate, and of how many reference words."""

    rate: float
    num_words: int

    @property
    def is_small(self) -> bool:
        """Too few words to say anything."""
        return self.num_words < FEWEST_WORDS


@dataclass(frozen=True)
class Table:
    """Error rates by something, a row a bin and a column a system."""

    title: str
    unit: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Profile:
    """One system, all its confirm runs together. Rates are per reference word."""

    system: str
    num_words: int
    substitutions: float
    deletions: float
    insertions: float
    words: tuple[tuple[str, str, int], ...]
    """Reference word, recognised word, number of times."""
    letters: tuple[tuple[str, str, int], ...]
    """The same for the letters within substituted words; "" for none."""
    unseen: tuple[tuple[str, str, int], ...]
    """Words that do not occur in train, what was recognised ("" for nothing), number of times."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    profiles: tuple[Profile, ...]
    tables: tuple[Table, ...]
    share_aligned: float
    """Of the scored utterances, those that were aligned for the confusions."""


def numbers(report_input: ReportInput) -> Numbers:
    """Rates and confusions of each system with scored utterances."""
    by_system = dict(list(report_input.utterances.groupby("system")))
    names = [name for name in system_names(report_input) if name in by_system]
    if not names:
        return Numbers((), (), math.nan)
    words = report_input.train_words
    aligned = {name: list(_aligned(by_system[name])) for name in names}
    frames = [by_system[name] for name in names]
    tables = [
        _by_bin("reference words in the utterance", "words", LENGTHS, frames, "num_ref_words"),
        _by_bin("seconds of the utterance", "s", SECONDS, frames, "seconds"),
    ]
    if words:
        tables.append(_by_count([aligned[name] for name in names], words))
    return Numbers(
        profiles=tuple(_profile(n, by_system[n], aligned[n], words) for n in names),
        tables=tuple(table for table in tables if len(table.rows) > 1),
        share_aligned=sum(map(len, aligned.values())) / sum(map(len, frames)),
    )


def _aligned(rows: pd.DataFrame) -> Iterator[list[Step]]:
    step = -(-len(rows) // MAX_ALIGNED)  # rounded up: at most so many are left
    ordered = rows.sort_values(["run", "id"], kind="stable").iloc[::step]
    for ref, hyp in zip(ordered["ref"], ordered["hyp"], strict=True):
        yield align(ref.split(), hyp.split())


def _profile(
    name: str,
    rows: pd.DataFrame,
    aligned: Sequence[Sequence[Step]],
    train_words: Mapping[str, int],
) -> Profile:
    total = int(rows["num_ref_words"].sum())
    steps = [step for steps in aligned for step in steps]
    mistaken = [(s.ref, s.hyp) for s in steps if s.operation == "substitution"]
    letters = (pair for pair in mistaken for pair in _letters(*pair))
    unseen = ((s.ref, s.hyp) for s in steps if train_words and s.ref and s.ref not in train_words)
    return Profile(
        system=name,
        num_words=total,
        words=_most(mistaken),
        letters=_most(letters),
        unseen=_most(unseen),
        **{k: rows[k].sum() / total for k in ("substitutions", "deletions", "insertions")},
    )


@lru_cache(maxsize=100_000)
def _letters(ref: str, hyp: str) -> tuple[tuple[str, str], ...]:
    """The letters that differ between two words."""
    return tuple((s.ref, s.hyp) for s in align(ref, hyp) if s.operation != "match")


def _most(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    """The most frequent pairs, those of equal count in alphabetical order."""
    counted = sorted(Counter(pairs).items(), key=lambda item: (-item[1], item[0]))
    return tuple((ref, hyp, count) for (ref, hyp), count in counted[:NUM_CONFUSIONS])


def _by_bin(
    title: str,
    unit: str,
    bins: Sequence[tuple[float, float]],
    frames: Sequence[pd.DataFrame],
    column: str,
) -> Table:
    whole = column == "num_ref_words"
    rows = []
    for low, high in bins:
        cells = []
        for frame in frames:
            inside = frame[column].between(low, high, inclusive="both" if whole else "left")
            own = frame[inside]
            cells.append(_cell(word_errors(own).sum(), int(own["num_ref_words"].sum())))
        rows.append((_range(low, high, whole=whole), tuple(cells)))
    return _table(title, unit, rows)


def _by_count(aligned: Sequence[Sequence[Sequence[Step]]], train_words: Mapping[str, int]) -> Table:
    """Share of words that were substituted or deleted, by their number of occurrences in train."""
    rows = []
    for low, high in COUNTS:
        cells = []
        for utterances in aligned:
            said = [
                step
                for steps in utterances
                for step in steps
                if step.ref and low <= train_words.get(step.ref, 0) <= high
            ]
            cells.append(_cell(sum(s.operation != "match" for s in said), len(said)))
        rows.append((_range(low, high, whole=True), tuple(cells)))
    return _table("times that train says the word (words missed)", "times", rows)


def _table(title: str, unit: str, rows: list[tuple[str, tuple[Cell, ...]]]) -> Table:
    kept = tuple(row for row in rows if any(cell.num_words for cell in row[1]))
    return Table(title, unit, kept)


def _cell(errors: float, num_words: int) -> Cell:
    return Cell(errors / num_words if num_words else math.nan, num_words)


def _range(low: float, high: float, *, whole: bool) -> str:
    if math.isinf(high):
        return f"{low:g} and more"
    if low == high:
        return f"{low:g}"
    return f"{low:g} to {high:g}" if whole else f"{low:g} to below {high:g}"
