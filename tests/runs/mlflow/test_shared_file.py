"""One SQLite file of MLflow for all who work in a folder: made once, whole, and used by many."""

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bench.runs import StudyTracker
from bench.runs.mlflow.store import connect

NUM_SWEEPS = 2


def _sweep(folder: Path, number: int, begin: Barrier) -> None:
    """What a sweep does first; of another user, who shares no cache and so no lock."""
    os.environ["BENCH_CACHE"] = str(folder / f"cache-{number}")
    os.chdir(folder)
    begin.wait()
    assert StudyTracker.open(f"study-{number}").parent("tiny").parent_run_id is not None


def test_sweeps_that_begin_at_once_make_one_file_that_holds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(NUM_SWEEPS)
    sweeps = [context.Process(target=_sweep, args=(tmp_path, n, begin)) for n in range(NUM_SWEEPS)]
    for process in sweeps:
        process.start()
    for process in sweeps:
        process.join()
    assert [process.exitcode for process in sweeps] == [0] * NUM_SWEEPS
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for number in range(NUM_SWEEPS):
        experiment = client.get_experiment_by_name(f"study-{number}")
        assert experiment is not None
        (parent,) = client.search_runs([experiment.experiment_id])
        assert parent.data.tags["kind"] == "parent"
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith("cache")} == {"mlflow.db"}


def _make(folder: Path) -> None:
    connect(f"sqlite:///{folder}/mlflow.db")


def test_a_process_killed_while_it_makes_the_file_leaves_none(tmp_path: Path) -> None:
    """MLflow cannot go on with half of its tables."""
    process = multiprocessing.get_context("spawn").Process(target=_make, args=(tmp_path,))
    process.start()
    while (
        not (begun := list(tmp_path.glob(".mlflow.db-*/mlflow.db"))) or not begun[0].stat().st_size
    ):
        assert process.is_alive()
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not (tmp_path / "mlflow.db").exists()
    assert connect(f"sqlite:///{tmp_path}/mlflow.db").client.search_experiments()
