"""Checkpoints: dicts of tensors and JSON-like values, written whole or not at all, never trusted.

Keys of the file: `format` and `version` (of this layout), `text` (digest of the alphabet), `config`
(a RunConfig as a dict), `stats` (of corpus normalisation, or None), `model` (weights and buffers).
The last checkpoint of a run, from which it resumes, adds `data` (digest of what it trains on),
`optimizer` and `loop` (a LoopState as a dict).
"""

import os
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.core.config import flatten, from_dict, to_dict
from bench.core.errors import UserError
from bench.data.features import CorpusStats
from bench.data.text import text_digest
from bench.training.config import RunConfig, build_model, run_config_from_dict
from variants.spec import AcousticModel

FORMAT = "deepspeech-bench checkpoint"
VERSION = 1


def save(
    path: Path,
    config: RunConfig,
    model: AcousticModel,
    stats: CorpusStats | None,
    **resuming: Any,
) -> None:
    """Write a checkpoint so that `path` is the old file or the new one at any moment.

    Args:
        path: in a folder that exists or can be made.
        config: what the network was built from.
        model: on any device.
        stats: of the store that it is trained on.
        resuming: `data`, `optimizer` and `loop`, where training shall go on from here.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "text": text_digest(),
        "config": to_dict(config),
        "stats": asdict(stats) if stats else None,
        "model": model.state_dict(),
        **resuming,
    }
    write(path, content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write what `load` gave, or `save` put together; errors as in `save`."""
    # One process works on a run, so one name will do; what a killed one left is written over.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            torch.save(content, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"checkpoint {path} cannot be written ({error.strerror or error}); make room there and "
            "run the same command again: it goes on from the checkpoint before"
        ) from error


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint, tensors on `device`; nothing in the file is executed.

    Raises:
        UserError: no such file; not one of ours, damaged, or holding more than plain data; written
            with another layout or alphabet.
    """
    if not path.exists():
        raise UserError(f"no checkpoint at {path}; see out/*/runs/*/*/checkpoints")
    try:
        if not zipfile.is_zipfile(path):
            raise pickle.UnpicklingError("not a file of torch.save")
        content = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is damaged, no checkpoint, or holds code (only tensors and plain values are "
            "loaded); use a file that bench.train or bench.sweep wrote"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this project; use one that bench.train or bench.sweep "
            "wrote"
        )
    if content["version"] != VERSION:
        raise UserError(
            f"{path} has checkpoint layout {content['version']}, this version reads {VERSION}; use "
            "the version of the project that wrote it"
        )
    if content["text"] != text_digest():
        raise UserError(
            f"{path} was trained with another alphabet or text normalisation ({content['text']}, "
            f"here {text_digest()}); use the version of the project that wrote it"
        )
    return content


def load_model(path: Path, device: torch.device) -> tuple[AcousticModel, RunConfig]:
    """The trained network of a checkpoint on `device`, in evaluation mode, and its config.

    Raises:
        UserError: as `load`; a variant or config key that this version does not know; weights that
            do not fit the config.
    """
    content = load(path, device)
    config = run_config_from_dict(content["config"])
    model = build_model(config).to(device)
    load_weights(path, content, config, model)
    return model.eval(), config


def load_weights(
    path: Path, content: dict[str, Any], config: RunConfig, model: AcousticModel
) -> None:
    """Put the weights in `content`, read from `path`, into `model`.

    Raises:
        UserError: they do not fit.
    """
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} do not fit variant {config.variant} as this version builds it; "
            "use the version of the project that wrote it"
        ) from error


def load_stats(path: Path) -> CorpusStats | None:
    """What ``normalize="corpus"`` used when the network was trained; None for other settings.

    Raises:
        UserError: as `load`.
    """
    stats = load(path, torch.device("cpu"))["stats"]
    return from_dict(CorpusStats, stats) if stats else None


def check_same_run(
    path: Path, content: dict[str, Any], config: RunConfig, data_digest: str
) -> None:
    """Refuse to go on from `content` with another config or other data than it was begun with.

    Raises:
        UserError: names the keys that differ, or says that `path` is no place to go on from.
    """
    if "loop" not in content:
        raise UserError(f"{path} is not the last checkpoint of a run; move it out of the folder")
    was = flatten(content["config"]) | {"data": content["data"]}
    now = flatten(config) | {"data": data_digest}
    changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if changed:
        shown = ", ".join(f"{key} was {was.get(key)!r}, is {now.get(key)!r}" for key in changed)
        raise UserError(
            f"the run in {path.parents[1]} was begun with another config: {shown}; put it back, or "
            "train in another folder"
        )
