"""A trained network as a model of MLflow: ``mlflow.pyfunc.load_model(…).predict("a.wav")`` is text.

Imports mlflow at once.
"""

import re
import tempfile
import wave
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from bench.runs.layout import VARIANT_FILES
from bench.runs.mlflow.store import MlflowStore
from bench.runs.mlflow.transcriber import CHECKPOINT, EXAMPLE
from bench.runs.provenance import ROOT

SCRIPT = Path(__file__).with_name("transcriber.py")
SOURCES = ("bench", "variants")
"""Stored with the model, which so needs no checkout of the project."""

REQUIREMENTS = (
    "mlflow", "torch", "torchaudio", "soundfile", "numpy", "jiwer", "pandas", "rich",
)  # fmt: skip
"""What the script's imports need; MLflow would find out by importing for minutes."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string)]), outputs=Schema([ColSpec(DataType.string)])
)


def log_model(store: MlflowStore, run_id: str, name: str, checkpoint: Path) -> str:
    """Log `checkpoint` as the model `name` of a run, unless the run has one.

    Returns:
        Its address, for `mlflow.pyfunc.load_model`.
    """
    client, experiment = store.client, store.client.get_run(run_id).info.experiment_id
    for made in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if made.status == LoggedModelStatus.READY:
            return str(made.model_uri)
    allowed = re.sub(r"[/:.%\"']", "-", name)
    made = client.create_logged_model(experiment, allowed, source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder) / "model", made.model_id, run_id, checkpoint)
        client.log_model_artifacts(made.model_id, str(Path(folder) / "model"))
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_uri)


def _save(folder: Path, model_id: str, run_id: str, checkpoint: Path) -> None:
    example = folder.with_name(EXAMPLE)
    _write_silence(example)
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(SCRIPT),
        artifacts={CHECKPOINT: str(checkpoint), EXAMPLE: str(example), **_variant(checkpoint)},
        code_paths=[str(ROOT / source) for source in SOURCES],
        signature=SIGNATURE,
        input_example=[EXAMPLE],
        pip_requirements=[_requirement(name) for name in REQUIREMENTS],
        mlflow_model=Model(run_id=run_id, model_id=model_id),
    )


def _variant(checkpoint: Path) -> dict[str, str]:
    """The recorded source of a variant from outside, for `load_model` beside the checkpoint."""
    run = checkpoint.resolve().parents[1]
    return {name: str(run / name) for name in VARIANT_FILES if (run / name).exists()}


def _requirement(name: str) -> str:
    """What is installed, without the build of torch that a package index does not have."""
    return f"{name}=={metadata.version(name).partition('+')[0]}"


def _write_silence(path: Path) -> None:
    """Half a second of silence: an example input without anyone's speech."""
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(bytes(16_000))
