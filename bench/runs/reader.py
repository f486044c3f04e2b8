"""Reading of a study's run folders into tables. Reads records only, never MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from bench.runs.layout import (
    BEST,
    METRICS,
    RUN,
    SCORES,
    WATCH,
    MetricPoint,
    Row,
    RunFile,
    ScoreLine,
    Summary,
    WatchLine,
    read_lines,
    read_run,
)
from bench.runs.state import TRAINED, State, read_summary
from reports.columns import COLUMNS, RunColumns, rows_of

OBJECTIVE = "valid/wer"

FROM_SUMMARY: Mapping[str, str] = {
    "valid_wer": f"best/{OBJECTIVE}",
    "test_wer": "test/wer",
    "test_cer": "test/cer",
    "best_epoch": "best/epoch",
    "num_epochs": "num_epochs",
    "train_seconds": "train_seconds",
    "num_parameters": "num_parameters",
    "macs_per_second_of_audio": "macs_per_second_of_audio",
    "audio_seconds_per_second": "audio_seconds_per_second",
    "peak_memory_bytes": "peak_memory_bytes",
    "num_nonfinite": "num_nonfinite",
    "num_test_openings": "test/num_opened",
}
"""Columns of the runs table that are metrics of summary.json; NaN where a run has none."""

CLOCKS: Mapping[str, str] = {"train/seconds": "seconds", "train/audio_hours": "audio_hours"}
"""Metrics that stand beside all others of their step, and their columns in the curves table."""

TABLES: Mapping[str, tuple[str, ...]] = {
    # As the report has them, and more: `name` is for people, `started_at` and `ended_at` are UTC
    # ("" before the end), `error_kind` and `message` are of a failure, else "".
    "runs": (
        *COLUMNS["runs"], *(key for key in FROM_SUMMARY if key not in COLUMNS["runs"]),
        "name", "started_at", "ended_at", "error_kind",
    ),
    "curves": COLUMNS["curves"],
    "utterances": (
        *COLUMNS["utterances"], "hits", "num_ref_chars", "char_substitutions", "char_deletions",
        "char_insertions",
    ),
    "watch": COLUMNS["watch"],
}  # fmt: skip
"""The columns of each table of a study: those of reports.columns first."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All measurements of a study; columns as in TABLES."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    utterances: pd.DataFrame
    watch: pd.DataFrame


def read_study(folder: Path) -> Tables:
    """The records below ``folder/runs`` by path; a run without an end is "running".

    Raises:
        UserError: a record of a newer version, or a line that is not JSON.
    """
    rows: dict[str, list[Mapping[str, object]]] = {name: [] for name in TABLES}
    for path in sorted((folder / "runs").glob(f"*/*/{RUN}")):
        run = read_run(path.parent)
        place = path.parent.relative_to(folder / "runs").as_posix()
        of_run = {"run": place, **{key: run[key] for key in ("system", "kind", "seed")}}
        points = list(read_lines(path.parent / METRICS, MetricPoint))
        rows["curves"] += _curve_rows(place, points)
        rows["runs"].append({**_run_row(path.parent, run, points), "run": place})
        rows["utterances"] += _joined(path.parent / SCORES, of_run, ScoreLine)
        rows["watch"] += _joined(path.parent / WATCH, of_run, WatchLine)
    return Tables(**{name: _table(name, rows[name]) for name in TABLES})


def confirm_checkpoints(folder: Path, runs: pd.DataFrame) -> Iterator[tuple[RunColumns, Path]]:
    """The finished confirm runs among `runs` of the study in `folder` that still have their best
    checkpoint, and that; the lowest valid WER first, since the test split chooses nothing."""
    ended = runs[(runs["kind"] == "confirm") & runs["state"].isin(TRAINED)]
    for run in rows_of(ended.sort_values(["valid_wer", "run"], kind="stable"), RunColumns):
        checkpoint = folder / "runs" / run["run"] / BEST
        if checkpoint.exists():
            yield run, checkpoint


def _run_row(folder: Path, run: RunFile, points: Sequence[MetricPoint]) -> dict[str, object]:
    going_on = Summary(state=State.RUNNING.value, metrics={}, error=None, ended_at="")
    summary = read_summary(folder) or going_on
    metrics, error = summary["metrics"], summary["error"] or {}
    row: dict[str, object] = {
        **run,
        "mlflow_run_id": run["mlflow_run_id"] or "",
        "state": summary["state"],
        **{column: metrics.get(metric, float("nan")) for column, metric in FROM_SUMMARY.items()},
        "error_kind": error.get("kind", ""),
        "message": error.get("message", ""),
        "ended_at": summary["ended_at"],
    }
    if "best/" + OBJECTIVE not in metrics:
        # Killed by force or still running: what its curve has reached so far.
        seen = [point["value"] for point in points if point["key"] == OBJECTIVE]
        row["valid_wer"] = min(seen, default=float("nan"))
    return row


def _curve_rows(run: str, points: Sequence[MetricPoint]) -> Iterator[dict[str, object]]:
    #     lines    step 10: train/loss, train/seconds = 4.2      step 20: valid/wer
    #     rows     step 10: seconds 4.2 in both                  step 20: seconds NaN
    at: dict[int, dict[str, float]] = {}
    for point in points:
        if point["key"] in CLOCKS:
            at.setdefault(point["step"], {})[CLOCKS[point["key"]]] = point["value"]
    for point in points:
        yield {**point, **at.get(point["step"], {}), "metric": point["key"], "run": run}


def _joined(
    path: Path, of_run: Mapping[str, object], row_type: type[Row]
) -> Iterator[dict[str, object]]:
    for line in read_lines(path, row_type):
        yield {**cast(Mapping[str, object], line), **of_run}


def _table(name: str, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(TABLES[name]))
    # Without rows, or with nothing but NaN, a column of numbers would be one of objects.
    numbers = (*FROM_SUMMARY, *CLOCKS.values())
    return table.astype({column: float for column in numbers if column in table})
