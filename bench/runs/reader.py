"""From the run folders of a study back to tables. Reads records only, never MLflow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.runs.layout import (
    METRICS,
    METRICS_SCHEMA,
    RUN,
    SCORES,
    SCORES_SCHEMA,
    WATCH,
    WATCH_SCHEMA,
    Keys,
    read_lines,
    read_run,
)
from bench.runs.state import TRAINED, State, read_summary

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

COLUMNS: Mapping[str, tuple[str, ...]] = {
    # One row a run. `run` is its folder below runs/; `params` the searched settings, a dict;
    # `error_kind` and `message` of a failure, else ""; `ended_at` is "" before the
    # end.
    "runs": (
        "run", "name", "system", "kind", "slot", "attempt", "seed", "state", *FROM_SUMMARY,
        "params", "mlflow_run_id", "started_at", "ended_at", "error_kind", "message",
    ),
    # One row a run, metric and step; what the run had trained for and on by then (resumes
    # included), NaN at steps where it logged neither.
    "curves": ("run", "metric", "step", "epoch", "seconds", "audio_hours", "value"),
    # One row a scored test utterance.
    "utterances": (
        "run", "system", "seed", "id", "speaker", "seconds", "num_ref_words", "substitutions",
        "deletions", "insertions", "hits", "num_ref_chars", "char_substitutions", "char_deletions",
        "char_insertions", "ref", "hyp",
    ),
    # One row a watch utterance and evaluation.
    "watch": ("run", "system", "kind", "seed", "id", "epoch", "step", "ref", "hyp"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Everything that a study has measured; columns as COLUMNS states them."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    utterances: pd.DataFrame
    watch: pd.DataFrame


def read_study(folder: Path) -> Tables:
    """The records below ``folder/runs`` by path; a run without an end is "running".

    Raises:
        UserError: a record of a newer version, or a line that is not JSON.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for path in sorted((folder / "runs").glob(f"*/*/{RUN}")):
        run = {**read_run(path.parent), "run": path.parent.relative_to(folder / "runs").as_posix()}
        curves = list(_curves(path.parent, run))
        rows["curves"] += curves
        rows["runs"].append(_run_row(path.parent, run, curves))
        rows["utterances"] += _joined(path.parent / SCORES, run, SCORES_SCHEMA)
        rows["watch"] += _joined(path.parent / WATCH, run, WATCH_SCHEMA)
    return Tables(**{name: _table(name, rows[name]) for name in COLUMNS})


def confirmed(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished confirm runs, that with the lowest valid WER first: the test split chooses
    nothing."""
    ended = runs[(runs["kind"] == "confirm") & runs["state"].isin(TRAINED)]
    return ended.sort_values(["valid_wer", "run"], kind="stable")


def _run_row(folder: Path, run: Mapping[str, Any], curves: list[dict[str, Any]]) -> dict[str, Any]:
    summary = read_summary(folder) or {"state": State.RUNNING.value, "metrics": {}, "error": None}
    metrics, error = summary["metrics"], summary["error"] or {}
    row = {
        **run,
        "mlflow_run_id": run["mlflow_run_id"] or "",
        "state": summary["state"],
        **{column: metrics.get(metric, float("nan")) for column, metric in FROM_SUMMARY.items()},
        "error_kind": error.get("kind", ""),
        "message": error.get("message", ""),
        "ended_at": summary.get("ended_at", ""),
    }
    if "best/" + OBJECTIVE not in metrics:
        # Killed by force or still running: what its curve has reached so far.
        seen = [point["value"] for point in curves if point["metric"] == OBJECTIVE]
        row["valid_wer"] = min(seen, default=float("nan"))
    return row


def _curves(folder: Path, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    points = list(read_lines(folder / METRICS, METRICS_SCHEMA))
    at: dict[int, dict[str, float]] = {}
    for point in points:
        if point["key"] in CLOCKS:
            at.setdefault(point["step"], {})[CLOCKS[point["key"]]] = point["value"]
    for point in points:
        yield {**point, **at.get(point["step"], {}), "metric": point["key"], "run": run["run"]}


def _joined(path: Path, run: Mapping[str, Any], keys: Keys) -> list[dict[str, Any]]:
    of_run = {key: run[key] for key in ("run", "system", "kind", "seed")}
    return [{**line, **of_run} for line in read_lines(path, keys)]


def _table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS[name]))
    # Without rows, or with nothing but NaN, a column of numbers would be one of objects.
    numbers = (*FROM_SUMMARY, *CLOCKS.values())
    return table.astype({column: float for column in numbers if column in table})
