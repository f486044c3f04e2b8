"""All runs, failed and pruned ones included."""

from dataclasses import dataclass

from reports.columns import RunColumns, rows_of
from reports.format import text
from reports.input import ReportInput
from reports.markup import render
from reports.palette import system_names

TITLE = "Runs"

MAX_OPEN = 40
"""More runs than these are folded away until the reader opens them."""


@dataclass(frozen=True)
class RunRow:
    """One run; rates are fractions, unknown is NaN."""

    run: str
    system: str
    tone: int
    kind: str
    attempt: int
    seed: int
    state: str
    best_epoch: float
    num_epochs: float
    valid_wer: float
    test_wer: float
    test_cer: float
    train_seconds: float
    mlflow_run_id: str
    message: str


def numbers(report_input: ReportInput) -> tuple[RunRow, ...]:
    """All runs: by system, trials before confirm runs, by slot."""
    tones = {name: tone for tone, name in enumerate(system_names(report_input))}
    kinds = {"trial": 0, "confirm": 1}
    rows = sorted(
        rows_of(report_input.runs, RunColumns),
        key=lambda r: (
            tones[r["system"]],
            kinds.get(r["kind"], 2),
            r["slot"],
            r["attempt"],
            r["run"],
        ),
    )
    return tuple(
        RunRow(
            run=row["run"],
            system=row["system"],
            tone=tones[row["system"]],
            kind=row["kind"],
            attempt=row["attempt"],
            seed=row["seed"],
            state=row["state"],
            best_epoch=row["best_epoch"],
            num_epochs=row["num_epochs"],
            valid_wer=row["valid_wer"],
            test_wer=row["test_wer"],
            test_cer=row["test_cer"],
            train_seconds=row["train_seconds"],
            mlflow_run_id=text(row["mlflow_run_id"]),
            message=text(row["message"]),
        )
        for row in rows
    )


def html(numbers: tuple[RunRow, ...]) -> str:
    """The section as markup."""
    return render("sections/runs.html", rows=numbers, is_open=len(numbers) <= MAX_OPEN)
