"""Parents and summaries are found again, not made twice."""

from typing import Any

import pytest

from bench.tracking import StudyTracker, TrackingTarget

PARAMS = {"optim.learning_rate": 0.001}
METRICS = {"wer_mean": 0.25, "wer_low": 0.2, "wer_high": float("nan"), "num_parameters": 9.0}


def summarise(lab: Any, tracker: StudyTracker, **changes: Any) -> None:
    report = lab.study / "report.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("<p>")
    given = {
        "params": PARAMS, "metrics": METRICS, "verdict": "tiny wins.", "command": "python -m x",
        "report": report,
    }  # fmt: skip
    tracker.summarise("tiny", **(given | changes))


def test_a_variant_has_one_parent_and_one_summary_however_often_it_is_run(lab: Any) -> None:
    targets = []
    for _ in range(2):
        tracker = StudyTracker.open("s", data_digest="d1")
        targets.append(tracker.parent("tiny"))
        assert lab.run("parent").info.status == "RUNNING"
        confirm = lab.record("confirm-0", kind="confirm", slot=0)
        confirm.close("finished", {"test/wer": 0.25})
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
    assert lab.artifacts(parent) == {"report.html"}
    assert summary.data.params == {"optim.learning_rate": "0.001"}
    assert summary.data.metrics == {
        "test/wer_mean": 0.25, "test/wer_low": 0.2, "num_parameters": 9.0
    }  # fmt: skip
    assert lab.history(summary, "test/wer_mean") == [(0, 0.25)]
    table = lab.client.load_table(summary.info.experiment_id, "confirm.json")
    assert list(table["test_wer"]) == [0.25]


def test_a_summary_of_another_winner_replaces_the_old_one(lab: Any) -> None:
    tracker = StudyTracker.open("s")
    summarise(lab, tracker)
    summarise(lab, tracker, params={"optim.learning_rate": 0.002})
    assert lab.run("summary").data.params == {"optim.learning_rate": "0.002"}


def test_a_study_that_is_left_says_so_of_the_variants_that_are_not_done(lab: Any) -> None:
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
    assert "experiment not sent to http://bench:***@127.0.0.1:9" in caplog.text
    assert "hunter2" not in caplog.text + tracker.tracking_uri + repr(tracker.target)
