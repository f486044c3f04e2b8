"""Parents and summaries are found again, not made twice."""

import math
from typing import Any

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.runs import Findings, StudyTracker, TrackingTarget, flush_unsent
from bench.runs.mlflow import study as studies

PARAMS = {"optim.learning_rate": 0.001}
SYSTEMS = {
    "system": ["tiny", "other"], "summary": ["", ""], "wer_mean": [0.25, 0.375],
    "wer_low": [0.2, 0.3], "wer_high": [math.nan, 0.4], "num_parameters": [9.0, 7.0],
    "num_seeds": [1, 2], "pareto_optimal": [True, False],
}  # fmt: skip
PAIRS = {
    "a": ["tiny"], "b": ["other"], "delta_wer": [0.125], "low": [0.0625], "high": [0.25],
    "p_adjusted": [0.5],
}  # fmt: skip


def summarise(
    lab: Any,
    tracker: StudyTracker,
    system: str = "tiny",
    notes: tuple[str, ...] = (),
    tags: dict[str, str] | None = None,
    **params: Any,
) -> None:
    report = lab.study / "report.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("<p>")
    findings = Findings(
        verdict="tiny wins.",
        command="python -m x",
        report=report,
        baseline="other",
        systems=pd.DataFrame(SYSTEMS),
        pairs=pd.DataFrame(PAIRS),
        colors={"tiny": "#0072b2", "other": "#d55e00"},
        notes=notes,
        tags=tags or {},
    )
    tracker.summarise(findings, {system: PARAMS | params})


def test_a_system_has_one_parent_and_one_summary_however_often_it_is_run(lab: Any) -> None:
    targets = []
    lab.record("confirm-0", kind="confirm", slot=0).close("finished", {"test/wer": 0.25})
    for _ in range(2):
        tracker = StudyTracker.open("s", data_digest="d1")
        targets.append(tracker.parent("tiny"))
        assert lab.run("parent").info.status == "RUNNING"
        assert flush_unsent(lab.study) == 0
        summarise(lab, tracker)
    assert targets[0] == targets[1]
    assert targets[0].parent_run_id == lab.run("parent").info.run_id
    parent, summary = lab.run("parent"), lab.run("summary")
    assert (parent.info.run_name, summary.info.run_name) == ("tiny", "tiny summary")
    for run in (parent, summary):
        assert run.info.status == "FINISHED"
        assert {"state": "finished", "data_digest": "d1"}.items() <= run.data.tags.items()
        note = run.data.tags["mlflow.note.content"]
        assert "**tiny wins.**" in note
        assert "`python -m x`" in note
    assert "| **tiny**" in note
    link = f"#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}/artifacts"
    assert f"[Open the report]({link}/report.html)" in note
    assert lab.artifacts(parent) == {"report.html", "plots"}
    assert summary.data.params == {"optim.learning_rate": "0.001"}
    assert summary.data.metrics == {
        "test/wer_mean": 0.25, "test/wer_low": 0.2, "cost/num_parameters": 9.0,
        "run/num_seeds": 1.0, "test/wer_delta": -0.125, "test/wer_delta_low": -0.25,
        "test/wer_delta_high": -0.0625, "test/wer_delta_p": 0.5,
    }  # fmt: skip
    colors = {run.data.tags["mlflow.runColor"] for run in (parent, summary, lab.run("confirm"))}
    assert colors == {"#0072b2"}
    reports = {run.data.tags["report"] for run in (parent, summary, lab.run("confirm"))}
    assert reports == {str(lab.study / "report.html")}
    confirm_note = lab.run("confirm").data.tags["mlflow.note.content"]
    assert f"[Open the report]({link}/report.html)" in confirm_note
    assert "test WER 25.0 %" in confirm_note.replace("\N{NO-BREAK SPACE}", " ")
    study_note = lab.client.get_experiment_by_name("s").tags["mlflow.note.content"]
    assert study_note.startswith(f"[Open the report]({link}/report.html)")
    assert study_note.endswith("\n\n**tiny wins.**")
    assert lab.history(summary, "test/wer_mean") == [(0, 0.25)]
    table = lab.client.load_table(summary.info.experiment_id, "confirm.json")
    assert list(table["test_wer"]) == [0.25]


def test_a_summary_of_another_winner_replaces_the_old_one(lab: Any) -> None:
    tracker = StudyTracker.open("s")
    summarise(lab, tracker)
    summarise(lab, tracker, **{"optim.learning_rate": 0.002})
    assert lab.run("summary").data.params == {"optim.learning_rate": "0.002"}


def test_a_study_that_is_left_says_so_of_the_systems_that_are_not_done(lab: Any) -> None:
    tracker = StudyTracker.open("s")
    tracker.parent("tiny")
    tracker.parent("other")
    summarise(lab, tracker)
    tracker.stop()
    by_name = {run.info.run_name: run for run in lab.runs("parent")}
    assert by_name["tiny"].info.status == "FINISHED"
    assert by_name["other"].info.status == "KILLED"
    assert by_name["other"].data.tags["state"] == "killed"


def test_artifacts_lie_beside_the_database(lab: Any) -> None:
    StudyTracker.open("s").parent("tiny")
    assert lab.run("parent").info.artifact_uri.startswith(str(lab.project / "mlartifacts" / "s"))


def test_an_experiment_that_someone_deleted_comes_back(lab: Any) -> None:
    StudyTracker.open("s")
    lab.client.delete_experiment(lab.client.get_experiment_by_name("s").experiment_id)
    assert StudyTracker.open("s").parent("tiny").parent_run_id


def test_a_dead_server_costs_a_warning(
    lab: Any, dead_server: TrackingTarget, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = StudyTracker.open("s")
    assert tracker.parent("tiny") == dead_server
    summarise(lab, tracker)
    tracker.stop()
    assert "tracking: http://bench:***@127.0.0.1:9 does not answer" in caplog.text
    assert "hunter2" not in caplog.text + tracker.tracking_uri + repr(tracker.target)


def test_only_the_best_of_the_fresh_seeds_becomes_a_model(
    lab: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logged = []
    monkeypatch.setattr(
        "bench.runs.mlflow.model.log_model",
        lambda store, run, name, file: logged.append((name, file)),
    )
    for slot, wer in enumerate((0.5, 0.25, 0.75)):
        record = lab.record(f"confirm-{slot}", kind="confirm", slot=slot, seed=5000 + slot)
        checkpoint = record.folder / "checkpoints" / "best.pt"
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(b"weights")
        record.close("finished", {"best/valid/wer": wer, "best/epoch": 1, "num_epochs": 2})
    lab.record("trial-000", slot=0).close("finished", {"best/valid/wer": 0.125})
    tracker = StudyTracker.open("s")
    summarise(lab, tracker)
    ((name, file),) = logged
    assert name == "tiny"
    assert file.parts[-3:] == ("confirm-1", "checkpoints", "best.pt")

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("bench.runs.mlflow.model.log_model", refuse)
    summarise(lab, tracker)
    assert "model of tiny not sent" in caplog.text
    assert lab.run("parent").info.status == "FINISHED"


def test_a_foreign_experiment_of_the_same_name_keeps_what_it_has(lab: Any) -> None:
    """Somebody's own, on a server that many use: ours go beside theirs, none of theirs changes."""
    experiment = lab.client.create_experiment("s")
    theirs = lab.client.create_run(experiment, tags={"kind": "trial", "owner": "ada"})
    lab.client.log_metric(theirs.info.run_id, "loss", 1.0)
    lab.client.set_terminated(theirs.info.run_id)
    before = lab.client.get_run(theirs.info.run_id).to_dictionary()
    lab.record("confirm-0", kind="confirm", slot=0).close("finished", {"test/wer": 0.25})
    for _ in range(2):
        tracker = StudyTracker.open("s", data_digest="d1")
        tracker.parent("tiny")
        assert flush_unsent(lab.study) == 0
        summarise(lab, tracker)
    tracker.stop_dead(["tiny"])
    assert lab.client.get_run(theirs.info.run_id).to_dictionary() == before
    kinds = [run.data.tags["kind"] for run in lab.client.search_runs([experiment])]
    assert sorted(kinds) == ["confirm", "parent", "summary", "trial"]


def test_another_study_of_the_same_name_is_refused_and_left_alone(lab: Any) -> None:
    tracker = StudyTracker.open("s", data_digest="d1")
    tracker.parent("tiny")
    summarise(lab, tracker)
    before = [run.to_dictionary() for kind in ("parent", "summary") for run in lab.runs(kind)]
    other = StudyTracker.open("s", data_digest="d2")
    with pytest.raises(
        UserError, match=r"holds a study of other data \(digest d1, ours d2; begun on"
    ):
        other.parent("tiny")
    now = [run.to_dictionary() for kind in ("parent", "summary") for run in lab.runs(kind)]
    assert now == before


def test_a_server_that_is_down_is_told_of_once_and_asked_again_later(
    lab: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def connect(uri: str) -> None:
        asked.append(uri)
        raise RuntimeError("API request failed") from OSError(111, "Connection refused")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@127.0.0.1:9")
    monkeypatch.setattr("bench.runs.mlflow.store.connect", connect)
    tracker = StudyTracker.open("s")
    assert tracker.parent("a") == tracker.parent("b")
    assert not tracker.reaches_store()
    (line,) = caplog.messages
    assert line.startswith("tracking: http://ann:***@127.0.0.1:9 does not answer (Connection ref")
    assert line.endswith("stay in out/s, python -m bench.sync sends them later")
    assert (len(asked), tracker.num_unsent) == (1, 3)
    monkeypatch.setattr(studies, "ASK_AGAIN_SECONDS", 0.0)
    tracker.parent("a")
    assert len(asked) == 2


def test_tables_that_were_made_in_part_do_not_stay(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk leaves them that is full before the last."""

    def refuse(self: object, **_: object) -> None:
        raise OSError(28, "database or disk is full")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///new.db")
    with monkeypatch.context() as full:
        full.setattr("mlflow.MlflowClient.search_experiments", refuse)
        with pytest.raises(UserError, match="disk is full"):
            StudyTracker.open("s")
    assert not list(lab.study.parent.parent.glob("*new.db*"))
    assert StudyTracker.open("s").parent("a").parent_run_id
    assert (lab.study.parent.parent / "new.db").exists()


def test_rounds_and_stamps_are_told(lab: Any) -> None:
    lab.record("confirm-0", kind="confirm", slot=0, round=1).close("finished", {})
    tracker = StudyTracker.open("s", data_digest="d1")
    tracker.parent("tiny")
    assert flush_unsent(lab.study) == 0
    assert lab.run("confirm").data.tags["round"] == "1"
    tracker.tell_round({"round": "2", "num_looks": "1"})
    assert lab.run("parent").data.tags["round"] == "2"
    summarise(lab, tracker, notes=("seeds were raised",), tags={"seeds_raised": "3 to 5"})
    for run in (lab.run("parent"), lab.run("summary")):
        assert run.data.tags["seeds_raised"] == "3 to 5"
        assert "- seeds were raised" in run.data.tags["mlflow.note.content"]
