"""bench.reap: what died is closed everywhere, what lives is left alone."""

import json
import multiprocessing
import sys
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from bench import reap
from bench.core import cli
from bench.queue.lease import FILE, Lease
from bench.queue.slots import SlotQueue
from bench.queue.storage import QueueStorage, check_queue
from bench.runs import StudyTracker, flush_unsent
from bench.study.definition import StudyDefinition, begin_or_return
from bench.study.space import load_budget
from tests.studies import study_of

SYSTEM = "ds-gru"


@pytest.fixture
def definition(lab: Any) -> StudyDefinition:
    budget = replace(load_budget("smoke"), num_trials=2)
    made = study_of([SYSTEM], budget, name="s")
    begin_or_return(lab.study, made)
    return made


def _take_and_die(folder: Path, definition: StudyDefinition, taken: Connection) -> None:
    queue = SlotQueue(definition, SYSTEM, folder, QueueStorage(None, folder, num_workers=2))
    queue.prepare()
    trial = queue.take(lambda run: Lease.take(run, grace_seconds=60.0))
    taken.send(trial is not None)


def killed_in_a_trial(lab: Any, definition: StudyDefinition) -> Path:
    """A trial that a process took, which then vanished; its run, open in MLflow too."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_take_and_die, args=(lab.study, definition, there))
    process.start()
    assert here.recv()
    process.kill()
    process.join()
    check_queue(lab.study, None)
    folder = lab.study / "runs" / SYSTEM / "trial-000"
    StudyTracker.open("s").parent(SYSTEM)
    record = lab.record_in(folder, system=SYSTEM, slot=0)
    record.close("killed", {})
    flush_unsent(lab.study)
    lab.record_in(folder, system=SYSTEM, slot=0)  # begun again
    return folder


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    monkeypatch.setattr(sys, "argv", ["reap", "--json", *flags])
    cli.run(reap.build_parser(), reap.main)
    return json.loads(capsys.readouterr().out)


def test_what_died_is_closed_in_records_queue_and_mlflow(
    lab: Any,
    definition: StudyDefinition,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = killed_in_a_trial(lab, definition)
    told = run(monkeypatch, capsys)
    assert told == {"closed": [str(folder.relative_to(lab.project))], "held": []}
    assert json.loads((folder / "summary.json").read_text())["state"] == "killed"
    assert not (folder / FILE).exists()
    with closing(QueueStorage(None, lab.study, num_workers=2)) as storage:
        slots = SlotQueue(definition, SYSTEM, lab.study, storage).slots()
    assert [slot.state for slot in slots] == [TrialState.WAITING] * 2
    assert [lab.run(kind).info.status for kind in ("trial", "parent")] == ["KILLED"] * 2
    assert run(monkeypatch, capsys) == {"closed": [], "held": []}


def test_what_lives_is_left_alone(
    lab: Any,
    definition: StudyDefinition,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = lab.study / "runs" / SYSTEM / "trial-000"
    StudyTracker.open("s").parent(SYSTEM)
    with Lease.take(folder, grace_seconds=60.0):
        lab.record_in(folder, system=SYSTEM, slot=0)
        told = run(monkeypatch, capsys)
    assert told == {"closed": [], "held": [str(folder.relative_to(lab.project))]}
    assert not (folder / "summary.json").exists()
    assert lab.run("parent").info.status == "RUNNING"


def test_the_queue_of_another_storage_is_left_alone(
    lab: Any,
    definition: StudyDefinition,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--storage is for the studies whose queue is there; out/ may hold others."""
    folder = killed_in_a_trial(lab, definition)
    told = run(monkeypatch, capsys, "--storage", f"sqlite:///{lab.project / 'queue.db'}")
    assert told["closed"] == [str(folder.relative_to(lab.project))]
    assert not (lab.project / "queue.db").exists()


def test_a_run_of_another_machine_is_closed_once_it_has_stood_still(
    lab: Any,
    definition: StudyDefinition,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = lab.study / "runs" / SYSTEM / "trial-000"
    lab.record_in(folder, system=SYSTEM, slot=0)
    far = {"host": "far away", "pid": 1, "name": "process 1 of ada on far", "token": "t", "grace_seconds": 0.2}  # fmt: skip
    (folder / FILE).write_text(json.dumps(far))
    assert len(run(monkeypatch, capsys)["held"]) == 1
    assert len(run(monkeypatch, capsys, "--wait", "20")["closed"]) == 1
