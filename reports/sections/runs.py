"""All runs, failed and pruned ones included."""

from reports.columns import RunColumns, rows_of
from reports.format import text
from reports.input import ReportInput
from reports.markup import render
from reports.palette import tones_of

TITLE = "Runs"

MAX_OPEN = 40
"""More runs than these are folded away until the reader opens them."""


class RunRow(RunColumns):
    """A run as the table of runs has it; unknown text is ""."""

    tone: int


def numbers(report_input: ReportInput) -> list[RunRow]:
    """All runs: by system, trials before confirm runs, by slot."""
    kinds = {"trial": 0, "confirm": 1}
    runs = report_input.runs
    toned = runs.assign(
        tone=runs["system"].map(tones_of(report_input)),
        mlflow_run_id=runs["mlflow_run_id"].map(text),
        message=runs["message"].map(text),
    )
    return sorted(
        rows_of(toned, RunRow),
        key=lambda r: (r["tone"], kinds.get(r["kind"], 2), r["slot"], r["attempt"], r["run"]),
    )


def html(numbers: list[RunRow]) -> str:
    """The section as markup."""
    return render("sections/runs.html", rows=numbers, is_open=len(numbers) <= MAX_OPEN)
