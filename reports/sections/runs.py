"""All runs, failed and pruned ones included."""

from dataclasses import dataclass

from reports.columns import RunColumns, rows_of
from reports.format import text
from reports.input import ReportInput
from reports.mlflow_pages import LOCAL_SERVER, is_served, run_page, serve_command
from reports.palette import tones_of

TITLE = "Runs"

MAX_OPEN = 40
"""More runs than these are folded away until the reader opens them."""


class RunRow(RunColumns):
    """A run as the table of runs has it; unknown text is ""."""

    page: str
    """The address of its page in MLflow; "" if it has none that a browser can open as it is."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    rows: list[RunRow]
    browse: str
    """The command that serves their pages in MLflow; "" where a server does or no run was sent."""
    page: str
    """Where that command then shows one of them, as an example."""


def numbers(report_input: ReportInput) -> Numbers:
    """All runs: by system, trials before confirm runs, by slot."""
    kinds, tones = {"trial": 0, "confirm": 1}, tones_of(report_input)
    runs, uri = report_input.runs, report_input.tracking_uri
    ids = runs["mlflow_run_id"].map(text)
    shown = runs.assign(
        mlflow_run_id=ids,
        page=[run_page(uri, run_id) if is_served(uri) and run_id else "" for run_id in ids],
        message=runs["message"].map(text),
    )
    rows = sorted(
        rows_of(shown, RunRow),
        key=lambda r: (tones[r["system"]], kinds.get(r["kind"], 2), r["slot"], r["run"]),
    )
    sent = [row["mlflow_run_id"] for row in rows if row["mlflow_run_id"]]
    if is_served(uri) or not sent:
        return Numbers(rows, "", "")
    return Numbers(rows, serve_command(uri), run_page(LOCAL_SERVER, sent[-1]))


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    return {"is_open": len(numbers.rows) <= MAX_OPEN}
