"""The MLflow server is away for the middle third of a sweep: nothing is lost, nothing is there twice,
and training does not wait for it."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from bench.runs.layout import METRICS, MetricPoint, read_lines
from bench.runs.mlflow.mirror import STATUS
from bench.runs.mlflow.pages import metric_name
from tests.faults.services import MlflowServer, until

NUM_RUNS = 25
"""24 trials and one confirm run, of budget `record`."""
SWEEP = ["--variant", "ds-gru", "--corpus", "spoken-tiny", "--budget", "record", "--set", "model.width=16"]  # fmt: skip
SECONDS = 900.0


@pytest.fixture
def servers() -> Iterator[tuple[MlflowServer, MlflowServer]]:
    made = MlflowServer(), MlflowServer()
    for server in made:
        server.start()
    yield made
    for server in made:
        server.remove()


def begin(folder: Path, server: MlflowServer) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    with (folder / "sweep.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.sweep", *SWEEP],
            cwd=folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
            stdout=log,
            stderr=log,
        )


def ended(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob("out/*/runs/*/*/summary.json")]


def train_seconds(folder: Path) -> float:
    summaries = [json.loads((run / "summary.json").read_text()) for run in ended(folder)]
    return sum(summary["metrics"]["train_seconds"] for summary in summaries)


def check_copy(folder: Path, server: MlflowServer) -> int:
    """The number of points, each of which MLflow has once."""
    client, num_points = mlflow.MlflowClient(server.uri), 0
    for run in ended(folder):
        run_id = json.loads((run / "run.json").read_text())["mlflow_run_id"]
        state = json.loads((run / "summary.json").read_text())["state"]
        copy = client.get_run(run_id)
        assert copy.info.status == STATUS[state]
        points = list(read_lines(run / METRICS, MetricPoint))
        for key in {point["key"] for point in points}:
            recorded = Counter((p["step"], p["value"]) for p in points if p["key"] == key)
            history = client.get_metric_history(run_id, metric_name(key))
            assert Counter((m.step, m.value) for m in history) == recorded, (run, key)
            assert set(recorded.values()) == {1}
        num_points += len(points)
    return num_points


@pytest.mark.slow
def test_a_server_that_is_away_for_the_middle_third(
    tmp_path: Path, servers: tuple[MlflowServer, MlflowServer]
) -> None:
    undisturbed, server = servers
    quiet = begin(tmp_path / "quiet", undisturbed)
    assert quiet.wait(SECONDS) == 0
    undisturbed.kill()

    harmed = begin(tmp_path / "harmed", server)
    assert until(lambda: len(ended(tmp_path / "harmed")) >= NUM_RUNS // 3, SECONDS)
    server.kill()
    assert until(lambda: len(ended(tmp_path / "harmed")) >= 2 * NUM_RUNS // 3, SECONDS)
    server.start()
    assert harmed.wait(SECONDS) == 0
    sync = [sys.executable, "-m", "bench.sync"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    for _ in range(2):  # the second time there is nothing left to send
        subprocess.run(sync, cwd=tmp_path / "harmed", env=environment, check=True)
    assert len(ended(tmp_path / "harmed")) == NUM_RUNS
    num_points = check_copy(tmp_path / "harmed", server)
    seconds = [train_seconds(tmp_path / name) for name in ("quiet", "harmed")]
    print(f"\n{NUM_RUNS} runs, {num_points} points, each once; training {seconds[0]:.1f} s with the server, {seconds[1]:.1f} s without it for a third")  # fmt: skip
