"""Checkpoints: dicts of tensors and JSON-like values, written atomically and checked when read.

A file of torch.save is a zip archive. torch writes a checksum of every member and ignores it when
it reads; `load` verifies them (0.05 s for 90 MB). The last checkpoint of a run and the one before
it, `before(path)`, are both stored: if the disk damages one, the run resumes from the other.

Keys of the file: `format` and `version` (of this layout), `text` (digest of the alphabet), `config`
(a RunConfig as a dict), `stats` (of corpus normalisation, or None), `units` (the texts of the
symbols), `model` (weights and buffers).
The last checkpoint of a run, from which it resumes, adds `data` (digest of the training data),
`optimizer`, `loop` (a LoopState as a dict) and, if the run averages its weights, `average` (the
averaged weights and buffers; `model` has the trained ones).
"""

import errno
import logging
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench.core.config import changes, flatten, from_dict, to_dict
from bench.core.errors import UnwritableError, UserError
from bench.core.files import atomic_write
from bench.data.features import CorpusStats
from bench.data.text import text_digest
from bench.data.units import Units
from bench.training.config import RunConfig, build_model, run_config_from_dict
from bench.training.memory import is_out_of_memory
from bench.training.outside import VARIANT_RECORD, find_recorded
from variants.spec import AcousticModel

FORMAT = "deepspeech-bench checkpoint"
VERSION = 2

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a checkpoint, with what it takes to use it."""

    network: AcousticModel
    """In evaluation mode."""
    config: RunConfig
    stats: CorpusStats | None
    """What ``normalize="corpus"`` used in training; None for other settings."""
    units: Units
    """What its symbols stand for."""


class DamagedCheckpointError(UserError):
    """The file is truncated, fails a checksum, is no checkpoint, or holds more than plain data."""

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
    units: Units,
    **resuming: Any,
) -> None:
    """Write a checkpoint atomically: at any moment `path` is the old file or the new one.

    Args:
        path: in a folder that exists or can be made.
        config: what the network was built from.
        model: on any device.
        stats: of the feature store that the network is trained on.
        units: of the labels that it is trained on.
        resuming: `data`, `optimizer`, `loop` and perhaps `average`, of a checkpoint to resume
            from; the previous one is then renamed to `before(path)`.

    Raises:
        UnwritableError: the disk is full, or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "text": text_digest(),
        "config": to_dict(config),
        "stats": asdict(stats) if stats else None,
        "units": list(units.symbols),
        "model": model.state_dict(),
        **resuming,
    }
    write(path, content, keep_before=bool(resuming))


def write(path: Path, content: dict[str, Any], *, keep_before: bool = False) -> None:
    """Write `content`, as `load` returns it; errors as in `save`.

    With `keep_before` the file at `path` is renamed to `before(path)` first.
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
    """The path of the checkpoint before the newest one at `path`: last.1.pt for last.pt."""
    return path.with_suffix(f".1{path.suffix}")


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint, tensors on `device`; nothing in the file is executed.

    Raises:
        DamagedCheckpointError: a part differs from its checksum, or is no tensor or plain value.
        UserError: no such file; not readable; not of this project; of another layout or alphabet.
    """
    if not path.exists():
        raise UserError(f"no checkpoint at {path}; see out/*/runs/*/*/checkpoints")
    try:
        check_sums(path)
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # These errors are the machine's, not the file's: too little memory, or a fault of the GPU.
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise
        # Damaged or malicious bytes make zipfile and torch raise errors of any type. An OSError,
        # such as that of an unreachable network folder, says nothing about the file's content.
        if isinstance(error, OSError) and error.errno not in (errno.EIO, errno.EINVAL):
            raise UserError(
                f"{path} cannot be read ({error.strerror}); correct that first"
            ) from error
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
    if not all(isinstance(part, dict) for part in parts) or _units(content) is None:
        raise DamagedCheckpointError(path)
    return content


def check_sums(path: Path) -> None:
    """Read the checkpoint at `path` once and compare each member with its checksum.

    Raises:
        zipfile.BadZipFile: a member differs, or is compressed. torch compresses none; a compressed
            one could be small on disk and exhaust the memory.
        Exception: of other types; the file is damaged in another way.
    """
    with zipfile.ZipFile(path) as archive:
        packed = [part for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
        if packed or archive.testzip():
            raise zipfile.BadZipFile(f"{path} differs from its checksums, or is packed")


def is_whole(path: Path) -> bool:
    """True if `path` is an undamaged checkpoint; other errors as in `load`."""
    try:
        return path.exists() and bool(load(path, torch.device("cpu")))
    except DamagedCheckpointError:
        return False


def newest_whole(last: Path, best: Path, device: torch.device) -> dict[str, Any] | None:
    """The content of `last`; if it is damaged, that of the checkpoint before it, renamed to `last`.

    A checkpoint also counts as damaged if `best`, which its state refers to, is damaged: only
    training from an earlier step makes those weights again.

    None if no run was begun. None also, after a warning, if all are damaged; they are then deleted
    and the run begins anew. A run's numbers are a function of its config and its data, so this
    costs time and changes no number.
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
        # The whole one becomes the last: the next save renames that one, and a damaged one would
        # replace it as the one before.
        path.replace(last)
        return content
    if damaged:
        _logger.warning(
            "damaged: %s; nothing whole is left to go on from, so the run begins anew, which costs "
            "time and changes no number",
            _listed(damaged),
        )
        # An undamaged `best` goes too: it would belong to a later step than the new run's.
        for path in (last, before(last), best):
            path.unlink(missing_ok=True)
    return None


def _listed(paths: Iterable[Path]) -> str:
    return " and ".join(map(str, paths))


def _units(content: dict[str, Any]) -> Units | None:
    """The units of a checkpoint; None if it holds none."""
    try:
        return Units(tuple(map(str, content["units"])))
    except (KeyError, TypeError, ValueError):
        return None


def load_model(path: Path, device: torch.device) -> TrainedNetwork:
    """The trained network of a checkpoint, on `device`.

    The source of a variant from outside is read from the run's folder, or from beside the file.

    Raises:
        UserError: as `load`; a variant or config key that this version does not know; weights that
            do not fit the config.
    """
    content = load(path, device)
    places = [path.resolve().parent.parent, path.parent]  # parents[1] lacks for /best.pt
    find_recorded(str(content["config"].get("variant")), places, VARIANT_RECORD)
    config = run_config_from_dict(content["config"])
    model = build_model(config).to(device)
    load_weights(path, content, config, model)
    stats, units = content["stats"], _units(content)
    assert units is not None, "load has checked them"
    return TrainedNetwork(
        model.eval(), config, from_dict(CorpusStats, stats) if stats else None, units
    )


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


def check_same_run(
    path: Path, content: dict[str, Any], config: RunConfig, data_digest: str
) -> None:
    """Refuse to resume from `content` if the run was begun with another config or other data.

    Raises:
        UserError: names the keys that differ, or says that `path` is not the last checkpoint of a
            run.
    """
    if not {"loop", "data", "optimizer"} <= content.keys():
        raise UserError(f"{path} is not the last checkpoint of a run; move it out of the folder")
    was = flatten(content["config"]) | {"data": content["data"]}
    now = flatten(config) | {"data": data_digest}
    if shown := changes(was, now):
        raise UserError(
            f"the run in {path.parents[1]} was begun with another config: {shown}; put it back, or "
            "train in another folder"
        )
