"""A lab: a working folder with a fresh tracking store, and what to log into it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bench.runs import RunIdentity, RunRecord, Tracker, TrackingTarget
from bench.runs.mlflow import tracker
from bench.runs.provenance import ROOT
from bench.scoring.score import UtteranceScore, score
from bench.training.progress import Progress, WatchTranscript

STORE = TrackingTarget(uri="sqlite:///mlflow.db")


@dataclass(frozen=True)
class Lab:
    """What a test of tracking needs; the working folder is `project`."""

    project: Path
    config = {"optim": {"learning_rate": 0.001}, "model": {"channels": [2, 3]}}  # noqa: RUF012

    @cached_property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.project}/mlflow.db")

    @property
    def study(self) -> Path:
        return self.project / "out" / "s"

    def folder(self, name: str = "trial-003") -> Path:
        return self.study / "runs" / "tiny" / name

    def identity(self, **changes: object) -> RunIdentity:
        values = {
            "study": "s", "system": "tiny", "kind": "trial", "slot": 3, "attempt": 1, "seed": 7,
            "params": {"optim.learning_rate": 0.001}, "data_digest": "d1",
        }  # fmt: skip
        return RunIdentity(**(values | changes))

    def record(self, name: str = "trial-003", **changes: object) -> RunRecord:
        return self.record_in(self.folder(name), **changes)

    def record_in(self, folder: Path, **changes: object) -> RunRecord:
        environment = {"git.commit": "c1"}
        return RunRecord.open(folder, self.identity(**changes), self.config, environment)

    def tracker(
        self, name: str = "trial-003", target: TrackingTarget = STORE, **changes: object
    ) -> Tracker:
        return Tracker.open(self.folder(name), self.identity(**changes), self.config, target)

    def progress(self, step: int, metrics: Mapping[str, float] | None = None) -> Progress:
        return Progress(
            step=step,
            epoch=step / 10,
            num_epochs=4,
            seconds=0.5 * step,
            metrics=dict(metrics or {"train/loss": 100.0 - step, "valid/wer": 1 / (step + 1)}),
            evaluated=True,
            watch=(WatchTranscript(id="w1", ref="a bad dad", hyp="a" * step),),
        )

    def scores(self, count: int = 30) -> list[UtteranceScore]:
        ids = [f"u{index:02}" for index in range(count)]
        texts = ["a bad cab"] * count, ["a cab"] * count
        return score(ids, *texts, ["ann"] * count, [1.5] * count)

    def runs(self, kind: str = "trial") -> list[Run]:
        experiment = self.client.get_experiment_by_name("s")
        assert experiment
        return list(self.client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))

    def run(self, kind: str = "trial") -> Run:
        """The only run of its kind."""
        (found,) = self.runs(kind)
        return found

    def history(self, run: Run, key: str) -> list[tuple[int, float]]:
        """Points as (step, value)."""
        points = self.client.get_metric_history(run.info.run_id, key)
        return sorted((point.step, point.value) for point in points)

    def artifacts(self, run: Run) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id)}


FIRST_USE = """
import sys
from bench.runs import StudyTracker
print("mlflow" in sys.modules and "early" or "late")
StudyTracker.open("first").parent("tiny")
"""


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A process that uses tracking where there is none yet, in the folder `args[-1]`."""
    folder = tmp_path_factory.mktemp("mlflow")
    given = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(folder)}
    given.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", FIRST_USE, str(folder)]
    return subprocess.run(
        command, cwd=folder, env=given, capture_output=True, text=True, check=True
    )


@pytest.fixture
def lab(
    tmp_path: Path,
    first_use: subprocess.CompletedProcess[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Lab:
    # MLflow takes 2 to 4 s to create a schema: tests copy the one that was made first.
    shutil.copy(Path(first_use.args[-1]) / "mlflow.db", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracker, "SEND_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(tracker, "LONGEST_PAUSE_SECONDS", 0.1)
    return Lab(tmp_path)


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> TrackingTarget:
    """Port 9 of this host refuses every connection."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bench:hunter2@127.0.0.1:9")
    return TrackingTarget(uri="http://bench:hunter2@127.0.0.1:9")
