"""A logged model hears in a fresh process, far from this checkout, what the checkpoint hears here."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data.audio import read_utterance
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.runs import StudyTracker, flush_unsent
from bench.runs.mlflow import mirror
from bench.runs.mlflow.model import log_model, register
from bench.runs.mlflow.store import connect
from bench.training.checkpoint import load_model, save
from bench.training.evaluate import transcribe
from tests.babbler import saved_babbler

CPU = torch.device("cpu")

FRESH = """
import json, sys
import mlflow, pandas as pd
uri, model, version, *paths = sys.argv[1:]
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
import bench
print(json.dumps({
    "one": loaded.predict(paths[0]),
    "list": loaded.predict(paths),
    "column": loaded.predict(pd.DataFrame({"audio": paths})),
    "example": loaded.predict(loaded.input_example),
    "code": bench.__file__,
    "registered": mlflow.pyfunc.load_model(version).predict(paths),
}))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Untrained: what it hears is nonsense, and the same nonsense wherever it is loaded."""
    return saved_babbler(tmp_path / "best.pt")


def test_a_fresh_process_hears_the_same(lab: Any, checkpoint: Path, tone_corpus: Corpus) -> None:
    folder = lab.record("confirm-0", kind="confirm", slot=0).folder
    store = connect("sqlite:///mlflow.db")
    mirror.mirror(folder, store)
    run_id = lab.run("confirm").info.run_id
    model = log_model(store, run_id, "a:b/c", checkpoint)
    again = log_model(store, run_id, "a:b/c", checkpoint)
    assert again.model_id == model.model_id, "one model a run"
    version = register(store, "voice", model, checkpoint, {}, "")
    assert lab.run("confirm").info.status == "RUNNING", "logging does not touch the run's end"

    trained = load_model(checkpoint, CPU)
    spoken = tone_corpus.split("test")
    paths = [str(u.audio) for u in spoken]
    expected = [transcribe(trained, read_utterance(u, 16_000), CPU) for u in spoken]
    assert any(expected)
    away = lab.project / "away"
    away.mkdir()
    given = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    uri = f"sqlite:///{lab.project}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", FRESH, uri, model.model_uri, version, *paths],
        cwd=away, env=given | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)
    assert heard["one"] == expected[:1]
    assert heard["list"] == heard["column"] == heard["registered"] == expected
    assert len(heard["example"]) == 1
    assert str(lab.project) in heard["code"], "the sources came with the model"


def confirm(lab: Any, slot: int, valid_wer: float, checkpoint: Path) -> None:
    record = lab.record(f"confirm-{slot}", kind="confirm", slot=slot, seed=slot)
    (record.folder / "checkpoints").mkdir()
    shutil.copy(checkpoint, record.folder / "checkpoints" / "best.pt")
    record.close("finished", {"best/valid/wer": valid_wer, "test/wer": 0.5, "test/cer": 0.25})
    assert flush_unsent(lab.study) == 0


def test_the_best_confirm_run_is_registered_on_demand_and_once(lab: Any, checkpoint: Path) -> None:
    tracker = StudyTracker.open("s", data_digest="d1")
    assert tracker.register("voice") is None, "no run yet"
    confirm(lab, 0, 0.25, checkpoint)
    confirm(lab, 1, 0.375, checkpoint)
    assert not lab.client.search_registered_models()
    assert tracker.register("voice") == "models:/voice/1"
    assert tracker.register("voice") == "models:/voice/1", "the same checkpoint"
    first = lab.client.get_model_version("voice", "1")
    content = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert first.tags == {
        "study": "s", "system": "tiny", "run": "tiny/confirm-0", "seed": "0", "data_digest": "d1",
        "git_commit": "c1", "chosen_by": "best/valid_wer", "best/valid_wer": "0.2500",
        "test/wer": "0.5000", "test/cer": "0.2500", "checkpoint": content,
    }  # fmt: skip
    run = next(r for r in lab.runs("confirm") if r.data.tags["slot"] == "0")
    assert first.run_id == run.info.run_id
    assert f"#/runs/{run.info.run_id}" in first.description

    # A better seed with other weights is another version; another name begins at 1.
    trained = load_model(checkpoint, CPU)
    network, config = trained.network, trained.config
    other = lab.project / "other.pt"
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    save(other, config, network, None, LETTERS)
    confirm(lab, 2, 0.125, other)
    assert tracker.register("voice") == "models:/voice/2"
    assert lab.client.get_model_version("voice", "2").tags["run"] == "tiny/confirm-2"
    (model,) = lab.client.search_logged_models(
        [run.info.experiment_id],
        f"source_run_id = '{lab.client.get_model_version('voice', '2').run_id}'",
    )
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "voice", "version": "2"}]
    assert tracker.register("other") == "models:/other/1"


def test_without_a_server_nothing_is_registered_and_a_warning_says_so(
    lab: Any, checkpoint: Path, dead_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = StudyTracker.open("s")
    record = lab.record("confirm-0", kind="confirm", slot=0)
    (record.folder / "checkpoints").mkdir()
    shutil.copy(checkpoint, record.folder / "checkpoints" / "best.pt")
    record.close("finished", {"best/valid/wer": 0.25})
    assert tracker.register("voice") is None
    assert "does not answer" in caplog.text
