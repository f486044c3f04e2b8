"""bench.sync: what MLflow lacks is sent, once; what cannot be sent is kept."""

import json
import sys
from typing import Any

import pytest

from bench import sync
from bench.core import cli
from bench.core.paths import SINGLE_RUNS
from bench.runs import TrackingTarget
from bench.study.definition import begin_or_return
from bench.study.space import load_budget
from tests.studies import study_of


def run(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    monkeypatch.setattr(sys, "argv", ["sync", "--json"])
    try:
        cli.run(sync.build_parser(), sync.main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def unsent(lab: Any) -> None:
    """A trial of a study that goes on, and a single run, of which MLflow knows nothing."""
    budget = load_budget("smoke")
    made = study_of(["ds-gru"], budget, name="s")
    begin_or_return(lab.study, made)
    trial = lab.study / "runs/ds-gru/trial-000"
    single = lab.project / SINGLE_RUNS / "one"
    for folder, given in ((trial, {"slot": 0}), (single, {"kind": "train", "study": "train"})):
        record = lab.record_in(folder, system="ds-gru", **given)
        record.append(lab.progress(1))
        record.append(lab.progress(2))
        record.close("finished", {"best/valid/wer": 0.5})


@pytest.mark.usefixtures("unsent")
def test_everything_is_sent_once(
    lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["studies"] == ["s"]
    (lab.study / "runs/ds-gru/trial-000/sent.json").unlink()  # as if killed before it was written
    assert run(monkeypatch) == 0
    trial = lab.run()
    assert trial.info.status == "FINISHED"
    assert lab.history(trial, "train/loss") == [(1, 99.0), (2, 98.0)]
    experiment = lab.client.get_experiment_by_name("train")
    assert experiment is not None
    assert len(lab.client.search_runs([experiment.experiment_id])) == 1


@pytest.mark.usefixtures("unsent")
def test_what_is_not_sent_is_said_and_kept(
    lab: Any,
    dead_server: TrackingTarget,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch) == cli.EXIT_START_AGAIN
    told = capsys.readouterr().err
    assert "2 records could not be uploaded" in told
    assert "hunter2" not in told
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run(monkeypatch) == 0
    assert lab.history(lab.run(), "train/loss") == [(1, 99.0), (2, 98.0)]
