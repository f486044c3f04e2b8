"""Each invariant is seen broken: an unharmed sweep, then one thing in its folder made wrong."""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.faults import invariants
from tests.faults.invariants import broken_in
from tests.faults.rounds import Round, Services
from tests.faults.services import MlflowServer

TRIAL = "runs/ds-gru/trial-000"
CONFIRM = "runs/ds-rnn/confirm-1"


def made_round(folder: Path) -> Round:
    return Round(
        name="unharmed",
        services=Services(MlflowServer(), None),
        on_postgres=False,
        on_server=False,
        corpus="spoken-tiny",
        folder=folder,
    )


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    at = made_round(tmp_path_factory.mktemp("unharmed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        while not at.supervise():
            time.sleep(0.2)
    yield at.folder
    at.services.mlflow.remove()


@pytest.fixture
def at(unharmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Round]:
    monkeypatch.setattr(invariants, "SETTLE_SECONDS", 0.5)
    folder = tmp_path / "round"
    shutil.copytree(unharmed, folder)
    made = made_round(folder)
    yield made
    made.services.mlflow.remove()


def write_twice(at: Round) -> None:
    path = at.study / TRIAL / "metrics.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[-1])


def rewrite_summary(at: Round, run: str, **values: object) -> None:
    path = at.study / run / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def flip_best(at: Round) -> None:
    path = at.study / CONFIRM / "checkpoints/best.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def add_trial(at: Round) -> None:
    storage = JournalStorage(JournalFileBackend(str(at.study / "optuna.journal")))
    study = optuna.load_study(study_name="unharmed/ds-gru", storage=storage)
    study.enqueue_trial({}, user_attrs={"slot": 2})


def in_mlflow(at: Round, act: Callable[[mlflow.MlflowClient, mlflow.entities.Run], object]) -> None:
    client = mlflow.MlflowClient(at.tracking_uri)
    experiment = client.get_experiment_by_name("unharmed")
    assert experiment is not None
    wanted = "tags.kind = 'trial' and tags.system = 'ds-gru' and tags.slot = '0'"
    act(client, client.search_runs([experiment.experiment_id], wanted)[0])


def copy_run(client: mlflow.MlflowClient, run: mlflow.entities.Run) -> None:
    copy = client.create_run(run.info.experiment_id, tags=run.data.tags)
    client.set_terminated(copy.info.run_id)


def score_other(at: Round) -> None:
    shutil.copy(at.study / TRIAL / "checkpoints/best.pt", at.study / CONFIRM / "checkpoints")
    shutil.copy(
        at.study / "runs/ds-gru/confirm-0/checkpoints/best.pt", at.study / TRIAL / "checkpoints"
    )


def end_twice(at: Round) -> None:
    at.watch_ends()
    rewrite_summary(at, TRIAL, ended_at="later")


DAMAGES: dict[str, Callable[[Round], object]] = {
    "twice in the record": write_twice,
    "is killed": lambda at: rewrite_summary(at, CONFIRM, state="killed"),
    "without a reason": lambda at: rewrite_summary(at, CONFIRM, state="failed", error=None),
    "failed by": lambda at: rewrite_summary(
        at, CONFIRM, state="failed", error={"kind": "ValueError", "message": "x"}
    ),
    "was not planned": lambda at: shutil.copytree(
        at.study / TRIAL, at.study / "runs/ds-gru/trial-007"
    ),
    "trials, 2 are planned": add_trial,
    "in the queue, not pruned": lambda at: rewrite_summary(at, TRIAL, state="pruned"),
    "does not load": flip_best,
    "best/valid/loss was": score_other,
    "lease left": lambda at: (at.study / CONFIRM / "lease.json").write_text("{}"),
    "no report": lambda at: (at.study / "report.html").unlink(),
    "is RUNNING": lambda at: in_mlflow(at, lambda c, r: c.update_run(r.info.run_id, "RUNNING")),
    "2 copies": lambda at: in_mlflow(at, copy_run),
    "0 copies": lambda at: in_mlflow(at, lambda c, r: c.delete_run(r.info.run_id)),
    "train/loss has": lambda at: in_mlflow(
        at, lambda c, r: c.log_metric(r.info.run_id, "train/loss", 1.0, step=1)
    ),
    "only MLflow has": lambda at: in_mlflow(at, lambda c, r: c.log_metric(r.info.run_id, "z", 1)),
    "and again at": end_twice,
}


@pytest.mark.slow
def test_an_unharmed_sweep_breaks_nothing(at: Round) -> None:
    at.watch_ends()
    assert broken_in(at) == []


@pytest.mark.slow
@pytest.mark.parametrize("words", DAMAGES)
def test_what_is_wrong_is_named(at: Round, words: str) -> None:
    DAMAGES[words](at)
    at.watch_ends()
    broken = broken_in(at)
    assert any(words in line for line in broken), broken


@pytest.mark.slow
def test_a_process_and_a_lock_left_behind_are_named(at: Round) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=at.folder)
    with (at.study / ".claim.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        broken = broken_in(at)
    sleeper.kill()
    sleeper.wait()
    assert any(line.startswith("process left") for line in broken), broken
    assert any(line.startswith("lock left") for line in broken), broken
