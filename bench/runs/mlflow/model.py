"""A trained network as a model of MLflow: ``mlflow.pyfunc.load_model(…).predict("a.wav")`` is text.

Imports mlflow at once.
"""

import hashlib
import json
import re
import tempfile
import wave
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

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

CONTENT_TAG = "checkpoint"
"""Of a version: the SHA-256 of the checkpoint's file."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string)]), outputs=Schema([ColSpec(DataType.string)])
)


def log_model(store: MlflowStore, run_id: str, name: str, checkpoint: Path) -> LoggedModel:
    """Log `checkpoint` as the model `name` of a run, unless the run has one.

    Returns:
        The model; `mlflow.pyfunc.load_model` takes its `model_uri`.
    """
    client, experiment = store.client, store.client.get_run(run_id).info.experiment_id
    for made in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if made.status == LoggedModelStatus.READY:
            return made
    # MLflow refuses these characters in the name of a logged model.
    allowed = re.sub(r"[/:.%\"']", "-", name)
    made = client.create_logged_model(experiment, allowed, source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder) / "model", made.model_id, run_id, checkpoint)
        client.log_model_artifacts(made.model_id, str(Path(folder) / "model"))
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    return client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)


def register(
    store: MlflowStore,
    name: str,
    model: LoggedModel,
    checkpoint: Path,
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Make `model`, of `checkpoint`, the newest version of the registered model `name`, unless one
    of its versions is of that checkpoint already; that one gets the `tags`.

    Returns:
        Its address, for `mlflow.pyfunc.load_model`: "models:/NAME/VERSION".
    """
    with checkpoint.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    client, every = store.client, {**tags, CONTENT_TAG: content}
    with store.exclusive_lock():
        # Searched, not got: what is missing would be an error of MLflow's, logged as such.
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        own = f"name = '{name}' and tags.`{CONTENT_TAG}` = '{content}'"
        known = client.search_model_versions(own, max_results=1)
        if known:
            version = str(known[0].version)
            for key, value in every.items():
                client.set_model_version_tag(name, version, key, value)
            return f"models:/{name}/{version}"
        # Not model_uri: a store of MLflow that is asked without a server looks that up elsewhere.
        made = client.create_model_version(
            name,
            model.artifact_location,
            model.source_run_id,
            every,
            description=description,
            model_id=model.model_id,
        )
        _tell_model(store, model, name, str(made.version))
    return f"models:/{name}/{made.version}"


def _tell_model(store: MlflowStore, model: LoggedModel, name: str, version: str) -> None:
    """Say on the logged model's page which version it is, as mlflow.register_model does."""
    before = store.client.get_logged_model(model.model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]")
    versions = [*json.loads(before), {"name": name, "version": version}]
    store.client.set_logged_model_tags(
        model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)}
    )


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
