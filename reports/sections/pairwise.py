"""Pairwise comparisons: differences with intervals, all pairs, and tests of single runs."""

from dataclasses import dataclass

from reports.columns import PairColumns, rows_of
from reports.input import ReportInput
from reports.palette import system_names
from reports.scale import Estimate, Scale, scale_of

TITLE = "Pairwise comparisons"

EQUAL = ("equivalent", "checkpoints equivalent")
OPEN = ("undecided", "withheld")


class PairRow(PairColumns):
    """A pair as the table of pairs has it."""

    difference: Estimate
    """With the interval that decided the verdict."""
    mark: str
    """In the matrix: "*" if the two differ, "=" if they are equivalent, "" if neither."""


@dataclass(frozen=True)
class Cell:
    """WER of the row's system minus that of the column's; NaN on the diagonal and if unknown."""

    difference: float
    mark: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    systems: tuple[str, ...]
    """In the order of rows and columns."""
    matrix: tuple[tuple[Cell, ...], ...]
    pairs: tuple[PairRow, ...]
    scale: Scale | None


def numbers(report_input: ReportInput) -> Numbers:
    """The pairs as rows and as a matrix, and the axis of their drawing."""
    systems = system_names(report_input)
    pairs = tuple(map(_row, rows_of(report_input.pairs, PairColumns)))
    differences = [value for pair in pairs for value in pair["difference"].values()]
    return Numbers(
        systems=tuple(systems),
        matrix=_matrix(systems, pairs) if pairs else (),
        pairs=pairs,
        # Zero, no difference, is on the axis whatever was measured.
        scale=scale_of([0.0, *differences]) if differences else None,
    )


def _row(row: PairColumns) -> PairRow:
    mark = "=" if row["verdict"] in EQUAL else "" if row["verdict"] in OPEN else "*"
    return {
        **row,
        "difference": Estimate(row["delta_wer"], row["low"], row["high"]),
        "mark": mark,
    }


def _matrix(names: list[str], pairs: tuple[PairRow, ...]) -> tuple[tuple[Cell, ...], ...]:
    unknown = Cell(float("nan"), "")
    cells = {}
    for pair in pairs:
        delta, mark = pair["delta_wer"], pair["mark"]
        cells[pair["b"], pair["a"]] = Cell(delta, mark)
        cells[pair["a"], pair["b"]] = Cell(-delta, mark)
    return tuple(tuple(cells.get((row, column), unknown) for column in names) for row in names)
