"""A logged model hears in a fresh process, far from this checkout, what the checkpoint hears here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data.audio import read_utterance
from bench.data.utterance import Corpus
from bench.runs.mlflow import mirror
from bench.runs.mlflow.model import log_model
from bench.runs.mlflow.store import connect
from bench.training.checkpoint import load_model
from bench.training.evaluate import transcribe
from tests.babbler import saved_babbler

CPU = torch.device("cpu")

FRESH = """
import json, sys
import mlflow, pandas as pd
uri, model, *paths = sys.argv[1:]
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
import bench
print(json.dumps({
    "one": loaded.predict(paths[0]),
    "list": loaded.predict(paths),
    "column": loaded.predict(pd.DataFrame({"audio": paths})),
    "example": loaded.predict(loaded.input_example),
    "code": bench.__file__,
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
    address = log_model(store, run_id, "a:b/c", checkpoint)
    assert log_model(store, run_id, "a:b/c", checkpoint) == address, "one model a run"
    assert lab.run("confirm").info.status == "RUNNING", "logging does not touch the run's end"

    network, config = load_model(checkpoint, CPU)
    spoken = tone_corpus.split("test")
    paths = [str(u.audio) for u in spoken]
    expected = [transcribe(network, config, read_utterance(u, 16_000), CPU) for u in spoken]
    assert any(expected)
    away = lab.project / "away"
    away.mkdir()
    given = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    uri = f"sqlite:///{lab.project}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", FRESH, uri, address, *paths],
        cwd=away, env=given | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)
    assert heard["one"] == expected[:1]
    assert heard["list"] == heard["column"] == expected
    assert len(heard["example"]) == 1
    assert str(lab.project) in heard["code"], "the sources came with the model"
