"""The copy in MLflow: each thing once, true statuses, and training that no server can stop."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.runs import TrackingTarget, flush_unsent
from bench.runs.layout import METRICS, RUN
from bench.runs.mlflow import mirror, store
from bench.runs.mlflow.mirror import CURSOR, is_behind
from bench.runs.mlflow.mirror import mirror as copy
from bench.runs.mlflow.store import connect

URI = "sqlite:///mlflow.db"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_finished_run_is_in_mlflow_once(lab: Any) -> None:
    tracker = lab.tracker("confirm-0", kind="confirm", slot=0, seed=5000)
    best = lab.folder("confirm-0") / "checkpoints" / "best.pt"
    best.parent.mkdir()
    best.write_bytes(b"weights")
    for step in (1, 2):
        tracker.record.append(lab.progress(step))
    tracker.record.write_scores("valid", lab.scores())
    tracker.record.write_scores("test", lab.scores())
    (lab.folder("confirm-0") / "paths.json").write_text('{"recurrence": "cuDNN"}')
    tracker.close("finished", {"best/valid/wer": 0.25, "test/wer": 0.5})

    run = lab.run("confirm")
    assert (run.info.run_name, run.info.status) == ("tiny confirm 0", "FINISHED")
    assert run.data.params == {"optim.learning_rate": "0.001", "model.channels": "2,3"}
    expected = {
        "system": "tiny", "study": "s", "kind": "confirm", "slot": "0", "attempt": "1",
        "seed": "5000", "state": "finished", "data_digest": "d1",
        "mlflow.parentRunId": lab.run("parent").info.run_id, "num_ranks": "1",
        "path.recurrence": "cuDNN",
    }  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    assert {"git_commit", "host", "mlflow.user"} <= set(run.data.tags)
    assert lab.history(run, "train/loss") == [(1, 99.0), (2, 98.0)]
    assert lab.history(run, "test/wer") == [(0, 0.5)]
    assert "Confirm run 0 of **tiny**" in run.data.tags["mlflow.note.content"]
    assert lab.artifacts(run) >= {
        "config.json", "environment.json", "summary.json", "watch.jsonl", "checkpoints", "paths.json",
        "utterances-test.jsonl", "utterances-valid.jsonl", "decodes.json", "watch.json",
    }  # fmt: skip
    saved = json.loads((lab.folder("confirm-0") / RUN).read_text())
    assert saved["mlflow_run_id"] == run.info.run_id


def test_decodes_are_a_table_of_the_same_utterances_in_every_run(lab: Any) -> None:
    for slot in (0, 1):
        tracker = lab.tracker(f"trial-{slot}", slot=slot)
        tracker.record.write_scores("valid", reversed(lab.scores()))
        tracker.close("finished")
    experiment = lab.runs()[0].info.experiment_id
    table = lab.client.load_table(experiment, "decodes.json", extra_columns=["tags.slot"])
    by_run = table.groupby("tags.slot")["id"].apply(list)
    assert by_run["0"] == by_run["1"] == [f"u{index:02}" for index in range(0, 30, 2)]
    assert list(table["wer"]) == pytest.approx([0.3333] * 30)
    # MLflow's page of tables groups by the first column and compares the second.
    assert list(table.columns[:2]) == ["utterance", "hyp"]
    assert table["utterance"][0] == "u00: a bad cab"
    assert {"id", "ref", "speaker"} <= set(table.columns)
    assert "checkpoints" not in lab.artifacts(lab.runs()[0])


def test_curves_arrive_while_the_run_lasts(lab: Any) -> None:
    tracker = lab.tracker()
    tracker.record.append(lab.progress(1))
    wait_for(
        lambda: (lab.folder() / CURSOR).exists() and bool(lab.history(lab.run(), "train/loss"))
    )
    assert (lab.run().info.status, lab.run().data.tags["state"]) == ("RUNNING", "running")
    tracker.record.append(lab.progress(2))
    wait_for(lambda: len(lab.history(lab.run(), "train/loss")) == 2)
    tracker.close("finished")
    assert lab.history(lab.run(), "train/loss") == [(1, 99.0), (2, 98.0)]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("cut", "FINISHED"),
        ("pruned", "FINISHED"),
        ("diverged", "FINISHED"),
        ("failed", "FAILED"),
        ("killed", "KILLED"),
        ("paused", "SCHEDULED"),
    ],
)
def test_statuses_tell_the_truth(lab: Any, state: str, status: str) -> None:
    kind, message = ("ValueError", "too wide " * 1000) if state == "failed" else (None, None)
    lab.tracker().close(state, error_kind=kind, error_message=message)
    run = lab.run()
    assert (run.info.status, run.data.tags["state"]) == (status, state)
    assert run.data.tags.get("error.kind") == kind
    assert run.data.tags.get("error.message", "")[:9] == (message or "")[:9]


@pytest.mark.parametrize("state", ["killed", "paused"])
def test_a_resumed_run_goes_on_where_it_was(lab: Any, state: str) -> None:
    stopped = lab.tracker()
    for step in (1, 2):
        stopped.record.append(lab.progress(step))
    stopped.close(state, {"best/valid/wer": 0.5})
    first = lab.run()
    resumed = lab.tracker(attempt=2)
    wait_for(lambda: lab.run().info.status == "RUNNING")
    for step in (2, 3):
        resumed.record.append(lab.progress(step))
    resumed.close("finished", {"best/valid/wer": 0.25})
    run = lab.run()
    assert run.info.run_id == first.info.run_id
    assert (run.info.status, run.data.tags["attempt"]) == ("FINISHED", "2")
    assert lab.history(run, "train/loss") == [(1, 99.0), (2, 98.0), (3, 97.0)]
    assert lab.history(run, "best/valid_wer") == [(0, 0.25)]


def test_sending_everything_again_changes_nothing(lab: Any) -> None:
    record = lab.record()
    for step in range(700):  # 2100 points: more than one call takes
        record.append(lab.progress(step))
    record.write_scores("valid", lab.scores())
    record.close("finished", {"best/valid/wer": 0.25})
    copy(record.folder, connect(URI))
    before = lab.run()
    rows = lab.client.load_table(before.info.experiment_id, "decodes.json")
    (record.folder / CURSOR).unlink()
    copy(record.folder, connect(URI))
    assert lab.run().to_dictionary() == before.to_dictionary()
    assert len(lab.history(before, "train/loss")) == 700
    assert lab.history(before, "best/valid_wer") == [(0, 0.25)]
    assert len(lab.client.load_table(before.info.experiment_id, "decodes.json")) == len(rows)


@pytest.mark.parametrize(
    "kind, splits", [("trial", ["train", "valid"]), ("confirm", ["test", "train", "valid"])]
)
def test_what_a_run_read_is_an_input_of_it_once(lab: Any, kind: str, splits: list[str]) -> None:
    record = lab.record("r", kind=kind)
    config = {"corpus": {"name": "spoken"}, "optim": {"learning_rate": 0.001}}
    (record.folder / "config.json").write_text(json.dumps(config))
    copy(record.folder, connect(URI))
    (record.folder / CURSOR).unlink()
    copy(record.folder, connect(URI))
    inputs = lab.run(kind).inputs.dataset_inputs
    named = sorted((i.dataset.name, i.dataset.digest, i.tags[0].value) for i in inputs)
    assert named == [(f"spoken {split}", "d1", split) for split in splits]


def test_the_inputs_of_joined_corpora_are_all_of_train_and_the_first_of_test(lab: Any) -> None:
    record = lab.record("r", kind="confirm", data_digest=f"{'a' * 16}+{'b' * 16}")
    config = {"corpus": {"name": "kaldi", "path": "/k", "added": ["spoken", "an4"]}}
    (record.folder / "config.json").write_text(json.dumps(config))
    copy(record.folder, connect(URI))
    run = lab.run("confirm")
    named = sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs)
    assert named == [
        ("kaldi test", "a" * 16),
        ("kaldi valid", "a" * 16),
        ("kaldi+spoken+an4 train", f"{'a' * 16}+{'b' * 16}"),
    ]
    assert run.data.params["corpus.added"] == "spoken,an4"


def test_a_torn_line_is_sent_once_it_is_whole(lab: Any) -> None:
    record = lab.record()
    record.append(lab.progress(1))
    path = record.folder / METRICS
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    copy(record.folder, connect(URI))
    assert lab.history(lab.run(), "train/loss") == [(1, 99.0)]
    assert lab.history(lab.run(), "train/seconds") == []
    path.write_bytes(whole)
    copy(record.folder, connect(URI))
    assert lab.history(lab.run(), "train/seconds") == [(1, 0.5)]


def test_a_kill_between_making_the_run_and_noting_its_id_makes_no_second_run(lab: Any) -> None:
    folder = lab.record().folder
    copy(folder, connect(URI))
    run = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps({**run, "mlflow_run_id": None}))
    (folder / CURSOR).unlink()
    copy(folder, connect(URI))
    assert json.loads((folder / RUN).read_text())["mlflow_run_id"] == lab.run().info.run_id


def test_a_run_that_someone_deleted_is_copied_anew_when_it_goes_on(lab: Any) -> None:
    record = lab.record()
    record.append(lab.progress(1))
    copy(record.folder, connect(URI))
    lab.client.delete_run(lab.run().info.run_id)
    lab.record()
    copy(record.folder, connect(URI))
    assert lab.history(lab.run(), "train/loss") == [(1, 99.0)]


def test_a_dead_server_stops_nothing_and_gets_everything_later(
    lab: Any,
    dead_server: TrackingTarget,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = time.monotonic()
    tracker = lab.tracker(target=dead_server)
    for step in (1, 2):
        tracker.record.append(lab.progress(step))
    wait_for(lambda: bool(caplog.messages))
    tracker.close("finished", {"best/valid/wer": 0.25})
    assert time.monotonic() - begun < 10
    assert flush_unsent(lab.study) == 1
    warnings = [r.getMessage() for r in caplog.records if r.name == "bench.runs.mlflow.tracker"]
    assert len(warnings) == 1
    assert "is unreachable" in warnings[0]
    assert "hunter2" not in caplog.text

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert flush_unsent(lab.study) == 0
    run = lab.run()
    assert lab.history(run, "train/loss") == [(1, 99.0), (2, 98.0)]
    assert (run.info.status, run.data.metrics["best/valid_wer"]) == ("FINISHED", 0.25)
    assert not is_behind(lab.folder(), URI)
    monkeypatch.setattr(store, "connect", lambda uri: pytest.fail("nothing is left to send"))
    assert flush_unsent(lab.study) == 0


def test_one_run_that_is_refused_does_not_hold_up_the_others(lab: Any) -> None:
    refused, fine = (lab.record(f"trial-{slot}", slot=slot) for slot in (0, 1))
    refused.append(lab.progress(1))
    copy(refused.folder, connect(URI))
    lab.client.delete_run(lab.run().info.run_id)
    for record in (refused, fine):
        record.close("finished", {})
    assert flush_unsent(lab.study) == 1
    assert (lab.run().info.status, lab.run().data.tags["slot"]) == ("FINISHED", "1")


def test_a_status_is_true_even_if_artifacts_cannot_be_stored(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = lab.tracker()
    wait_for(lambda: (lab.folder() / CURSOR).exists())

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as full:
        full.setattr(mirror, "_send_files", refuse)
        tracker.close("finished")
    assert lab.run().info.status == "FINISHED"
    assert is_behind(lab.folder(), URI)
    assert flush_unsent(lab.study) == 0
    assert "summary.json" in lab.artifacts(lab.run())


def test_long_values_are_shortened_not_refused(lab: Any) -> None:
    config = {f"key{index}": "x" * 9000 for index in range(150)}
    folder = lab.record().folder
    (folder / "config.json").write_text(json.dumps(config))
    copy(folder, connect(URI))
    params = lab.run().data.params
    assert len(params) == 150
    assert {len(text) for text in params.values()} == {6000}


def test_a_new_store_is_made_in_silence_and_mlflow_is_imported_late(first_use: Any) -> None:
    assert (first_use.stdout, first_use.stderr) == ("late\n", "")


def test_a_store_that_cannot_be_opened_is_named() -> None:
    with pytest.raises(UserError, match=r"ftp://a:\*\*\*@b is none .* unset MLFLOW_TRACKING_URI"):
        connect("ftp://a:hunter2@b")


def test_two_that_send_a_run_at_once_make_it_once(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker at its end and a launcher that joins."""
    record = lab.record()
    record.append(lab.progress(1))
    record.close("finished", {"best/valid/wer": 0.5})
    create = store.MlflowStore.create_run

    def create_slowly(*arguments: Any, **given: Any) -> Any:
        time.sleep(0.5)
        return create(*arguments, **given)

    connect(URI).parent("s", "tiny")
    monkeypatch.setattr(store.MlflowStore, "create_run", create_slowly)
    senders = [threading.Thread(target=lambda: copy(lab.folder(), connect(URI))) for _ in range(2)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert lab.history(lab.run(), "train/loss") == [(1, 99.0)]
