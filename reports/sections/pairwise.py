"""Pairwise comparisons: differences with intervals, all pairs, and tests of single runs."""

from dataclasses import dataclass

from reports.columns import PairColumns, rows_of
from reports.input import ReportInput
from reports.markup import render
from reports.palette import system_names
from reports.scale import Estimate, Scale, scale_of

TITLE = "Pairwise comparisons"

EQUAL = ("equivalent", "checkpoints equivalent")
OPEN = ("undecided", "withheld")
MAX_OPEN = 15
"""More pairs than these fold away."""


@dataclass(frozen=True)
class PairRow:
    """WER of `b` minus WER of `a`: above zero, `a` is better."""

    a: str
    b: str
    tone_a: int
    tone_b: int
    claim: bool
    """Registered before the study."""
    difference: Estimate
    """With the interval that decided the verdict."""
    coverage: float
    """Of that interval."""
    p_adjusted: float
    probability_of_improvement: float
    """That a random seed of `a` makes fewer errors than one of `b`."""
    verdict: str
    remedy: str
    """What would decide an undecided pair, or why the verdict is withheld; else empty."""
    mapsswe_p: float
    mcnemar_p: float
    wilcoxon_p: float

    @property
    def mark(self) -> str:
        """In the matrix: "*" if the two differ, "=" if they are equivalent, "" if neither."""
        return "=" if self.verdict in EQUAL else "" if self.verdict in OPEN else "*"


@dataclass(frozen=True)
class Cell:
    """WER of the row's system minus that of the column's; NaN on the diagonal and if unknown."""

    difference: float
    mark: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    systems: tuple[tuple[str, int], ...]
    """Names and tones, in the order of rows and columns."""
    matrix: tuple[tuple[Cell, ...], ...]
    pairs: tuple[PairRow, ...]
    scale: Scale | None

    @property
    def folded(self) -> bool:
        """Whether the table of pairs is too long to be open."""
        return len(self.pairs) > MAX_OPEN


def numbers(report_input: ReportInput) -> Numbers:
    """The pairs as rows and as a matrix, and the axis of their drawing."""
    names = system_names(report_input)
    tones = {name: tone for tone, name in enumerate(names)}
    pairs = tuple(_row(row, tones) for row in rows_of(report_input.pairs, PairColumns))
    differences = [value for pair in pairs for value in pair.difference.values()]
    return Numbers(
        systems=tuple(tones.items()),
        matrix=_matrix(names, pairs) if pairs else (),
        pairs=pairs,
        # Zero, no difference, is on the axis whatever was measured.
        scale=scale_of([0.0, *differences]) if differences else None,
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/pairwise.html", numbers=numbers)


def _row(row: PairColumns, tones: dict[str, int]) -> PairRow:
    return PairRow(
        a=row["a"],
        b=row["b"],
        tone_a=tones[row["a"]],
        tone_b=tones[row["b"]],
        claim=bool(row["claim"]),
        difference=Estimate(row["delta_wer"], row["low"], row["high"]),
        coverage=row["coverage"],
        p_adjusted=row["p_adjusted"],
        probability_of_improvement=row["probability_of_improvement"],
        verdict=row["verdict"],
        remedy=row["remedy"],
        mapsswe_p=row["mapsswe_p"],
        mcnemar_p=row["mcnemar_p"],
        wilcoxon_p=row["wilcoxon_p"],
    )


def _matrix(names: list[str], pairs: tuple[PairRow, ...]) -> tuple[tuple[Cell, ...], ...]:
    unknown = Cell(float("nan"), "")
    cells = {}
    for pair in pairs:
        cells[pair.b, pair.a] = Cell(pair.difference.mean, pair.mark)
        cells[pair.a, pair.b] = Cell(-pair.difference.mean, pair.mark)
    return tuple(tuple(cells.get((row, column), unknown) for column in names) for row in names)
