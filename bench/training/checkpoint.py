"""Checkpoints: dicts of tensors and JSON-like values, written whole or not at all, never trusted.

A file of torch.save is a zip, which holds a checksum of every part that torch writes and does not
read; `load` reads them (a twentieth of a second for 90 MB). The last checkpoint of a run keeps the
one before it, `before(path)`, to go on from where the disk has damaged it.

Keys of the file: `format` and `version` (of this layout), `text` (digest of the alphabet), `config`
(a RunConfig as a dict), `stats` (of corpus normalisation, or None), `model` (weights and buffers).
The last checkpoint of a run, from which it resumes, adds `data` (digest of what it trains on),
`optimizer`, `loop` (a LoopState as a dict) and, if the run averages its weights, `average` (of
weights and buffers; `model` is what it trains).
"""

import errno
import logging
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from bench.core.config import flatten, from_dict, to_dict
from bench.core.errors import UnwritableError, UserError
from bench.core.files import atomic_write
from bench.data.features import CorpusStats
from bench.data.text import text_digest
from bench.training.config import RunConfig, build_model, run_config_from_dict
from bench.training.memory import is_out_of_memory
from variants.spec import AcousticModel

FORMAT = "deepspeech-bench checkpoint"
VERSION = 1

_logger = logging.getLogger(__name__)


class DamagedCheckpointError(UserError):
    """The file is torn, has a flipped bit, is no checkpoint, or holds more than plain data."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged, no checkpoint, or holds code (only tensors and plain values are "
            "loaded); use a file that bench.train or bench.sweep wrote"
        )


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
        resuming: `data`, `optimizer`, `loop` and perhaps `average`, where training shall go on
            from here; then the checkpoint before is kept as well.

    Raises:
        UnwritableError: the disk is full, or the folder cannot be written.
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
    write(path, content, keep_before=bool(resuming))


def write(path: Path, content: dict[str, Any], *, keep_before: bool = False) -> None:
    """Write what `load` gave, or `save` put together; errors as in `save`.

    With `keep_before` the file at `path` is kept too: a rename, not a second write.
    """
    kept = before(path) if keep_before else None
    try:
        with atomic_write(path, is_shared=False, keep_before=kept) as handle:
            torch.save(content, handle)
    except RuntimeError as error:
        # After a failed write torch closes its zip, finds it incomplete, and reports only that.
        if not isinstance(error.__context__, OSError):
            raise
        raise UnwritableError(path, error.__context__) from error


def before(path: Path) -> Path:
    """Where the checkpoint that was at `path` before the newest is kept: last.1.pt of last.pt."""
    return path.with_suffix(f".1{path.suffix}")


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint, tensors on `device`; nothing in the file is executed.

    Raises:
        DamagedCheckpointError: a part differs from its checksum, or is no tensor or plain value.
        UserError: no such file, or none that may be read; not one of ours; written with another
            layout or alphabet.
    """
    if not path.exists():
        raise UserError(f"no checkpoint at {path}; see out/*/runs/*/*/checkpoints")
    try:
        check_sums(path)
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # For want of memory a whole file cannot be loaded; a GPU may fail in other ways as well.
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise
        # Whatever damaged or planted bytes provoke in zipfile and torch; but a folder that cannot
        # be reached for a while says nothing about the file.
        if isinstance(error, OSError) and error.errno not in (errno.EIO, errno.EINVAL):
            raise UserError(f"{path} cannot be read ({error.strerror}); mend that first") from error
        raise DamagedCheckpointError(path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this project; use one that bench.train or bench.sweep "
            "wrote"
        )
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} has checkpoint layout {content.get('version')!r}, this version reads "
            f"{VERSION}; use the version of the project that wrote it"
        )
    if content.get("text") != text_digest():
        raise UserError(
            f"{path} was trained with another alphabet or text normalisation "
            f"({content.get('text')}, here {text_digest()}); use the version of the project that "
            "wrote it"
        )
    parts = (content.get("config"), content.get("model"), content.get("stats") or {})
    if not all(isinstance(part, dict) for part in parts):
        raise DamagedCheckpointError(path)
    return content


def check_sums(path: Path) -> None:
    """Read the checkpoint at `path` through once, comparing each part with its checksum.

    Raises:
        zipfile.BadZipFile: a part differs, or is packed: torch packs none, and what is small on
            disk could be without end in memory.
        Exception: of other types; the file is damaged in another way.
    """
    with zipfile.ZipFile(path) as archive:
        packed = [part for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
        if packed or archive.testzip():
            raise zipfile.BadZipFile(f"{path} differs from its checksums, or is packed")


def is_whole(path: Path) -> bool:
    """Whether there is an undamaged checkpoint at `path`; other errors as in `load`."""
    try:
        return path.exists() and bool(load(path, torch.device("cpu")))
    except DamagedCheckpointError:
        return False


def newest_whole(last: Path, best: Path, device: torch.device) -> dict[str, Any] | None:
    """The content of `last`, or of the checkpoint before it if that is damaged, put in its place.

    A checkpoint is of no use either if the weights in `best`, which it counts on, are damaged: only
    training from an earlier point makes them again.

    None where no run was begun, and, after a warning, where nothing whole is left: then all three
    are gone. To begin anew is honest: a run's numbers follow from its config and its data, so that
    it costs the time again and changes nothing else.
    """
    damaged: dict[Path, None] = {}
    for path in filter(Path.exists, (last, before(last))):
        try:
            content = load(path, device)
        except DamagedCheckpointError:
            damaged[path] = None
            continue
        loop = content.get("loop") or {}
        if loop.get("best") and not is_whole(best):
            damaged[best] = None
            continue
        if damaged:
            message = "damaged: %s; going on from %s, step %d"
            _logger.warning(message, _listed(damaged), path, loop.get("step", 0))
        path.replace(last)
        return content
    if damaged:
        _logger.warning(
            "damaged: %s; nothing whole is left to go on from, so the run begins anew, which costs "
            "time and changes no number",
            _listed(damaged),
        )
        # Not even a whole one may stay: its past is not that of the run that begins now.
        for path in (last, before(last), best):
            path.unlink(missing_ok=True)
    return None


def _listed(paths: Iterable[Path]) -> str:
    return " and ".join(map(str, paths))


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
    path: Path,
    content: dict[str, Any],
    config: RunConfig,
    model: AcousticModel,
    key: Literal["model", "average"] = "model",
) -> None:
    """Put the weights in `content`, read from `path`, into `model`.

    Raises:
        UserError: they do not fit.
    """
    try:
        model.load_state_dict(content[key])
    except Exception as error:  # of many types, if these are no weights at all
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
    if not {"loop", "data", "optimizer"} <= content.keys():
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
