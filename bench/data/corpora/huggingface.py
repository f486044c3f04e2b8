"""Hugging Face datasets: a folder of ``save_to_disk``, or Parquet files with audio bytes inside.
Lhoest et al., "Datasets: a community library for natural language processing", EMNLP 2021.

PATH is a saved DatasetDict or Dataset, a Parquet file, or a folder with Parquet files anywhere in
it, as repositories of the Hub have them: ``data/train-00000-of-00005.parquet``,
``train/0000.parquet``. Splits go by the names in a DatasetDict, of files or of their folders; a
dataset without one has a column ``split``.

========= ================================================= ====================================
column    usual names (``--columns`` gives others)          holds
========= ================================================= ====================================
audio     audio                                             bytes of a recording, or its path
text      text, sentence, transcription, transcript
speaker   speaker, speaker_id, client_id                    without it, each row its own speaker
id        id, if no two are the same                        else the recording's name, if no two
                                                            are the same, else ``train-000012``
split     split                                             where no file or folder names it
========= ================================================= ====================================

Other columns of text, numbers and classes are kept as attributes. Recordings are unpacked into the
cache, unchanged, one row at a time, and read from there like any others: a row of Parquet has no
place of its own to decode from in every epoch's preparation, and libsndfile reads files. That costs
as much disk again as the dataset takes.
"""

import json
import logging
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.core.config import digest
from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.paths import CACHE_VARIABLE, cache_folder, made_once
from bench.data.corpora.folders import entries, holds, read_by_library
from bench.data.corpora.rows import SPEAKERS
from bench.data.corpora.spec import (
    CorpusConfig,
    CorpusSpec,
    Listing,
    Row,
    parse_columns,
    unnamed_speaker,
)
from bench.data.corpora.splits import SPLIT_NAMES, is_split_name, splits_of, unread
from bench.data.utterance import AUDIO_SUFFIXES, without_suffix

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

UNPACKING_VERSION = "2"
"""Raised when the rules here change, so that what old rules unpacked is not used."""

_USUAL = {
    "audio": ("audio",),
    "text": ("text", "sentence", "transcription", "transcript"),
    "speaker": SPEAKERS,
    "id": ("id",),
    "split": ("split",),
}
_ROWS = "rows.jsonl"
_DATASET = "state.json"
"""What ``save_to_disk`` writes beside the data of a Dataset; a DatasetDict is a folder of those."""
# Lazy, so that the name ends where nothing but numbers, "of" and fingerprints follow.
_SHARD = re.compile(r"(?P<name>.*?)([-_.](\d+|of|[0-9a-f]{16}))*", re.IGNORECASE)
"""The name of a shard: ``train-00000-of-00005``, ``train-00000-of-00005-0123456789abcdef``."""
_FILES_PER_FOLDER = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The data of one split, or of all where `name` is ""."""

    name: str
    folder: Path
    """For errors."""
    files: tuple[Path, ...]
    """Parquet; () for a dataset saved in `folder`."""


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """The columns of one part, by what they are; "" where there is none."""

    audio: str
    text: str
    speaker: str
    id: str
    split: str
    attributes: tuple[str, ...]

    @property
    def plain(self) -> set[str]:
        """Those whose values become text."""
        return {self.speaker, self.id, self.split, *self.attributes} - {""}


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    path = config.required_path().absolute()
    parts, others = _parts(path)
    order = list(splits_of({part.name: str(part.folder) for part in parts if part.name}))
    parts.sort(key=lambda part: order.index(part.name) if part.name else 0)
    names = parse_columns(config.columns)
    key = digest([UNPACKING_VERSION, str(path), names, _stamps(path)])
    cache = cache_folder("unpacked")
    folder = made_once(cache / f"hf-{key}", partial(_unpack, parts, names, path, cache))
    stored = map(json.loads, (folder / _ROWS).read_text(encoding="utf-8").splitlines())
    rows = [Row(**{**fields, "audio": folder / fields["audio"]}) for fields in stored]
    if not rows:
        raise UserError(f"hf: {path} has no rows; give a dataset with some")
    splits = splits_of({row.split: str(path) for row in rows})
    named = tuple(replace(row, split=splits[row.split]) for row in rows)
    return Listing(rows=named, notes=unread(others))


def _parts(path: Path) -> tuple[list[_Part], list[str]]:
    """The parts of the dataset at `path`, and the names of those that are no split's.

    Raises:
        UserError: no dataset there, or none of its parts is named after a split.
    """
    if path.is_dir() and (path / _DATASET).is_file():
        return [_Part(name=_own_name(path.name), folder=path, files=())], []
    if path.is_file():
        with path.open("rb") as handle:
            if handle.read(4) != b"PAR1":
                raise UserError(
                    f"hf: a file is a Parquet table, {path} is none; give one, a folder of "
                    "save_to_disk, or read a table of other form as manifest:PATH"
                )
        return [_Part(name=_own_name(_shard(path)), folder=path, files=(path,))], []
    found: dict[str, list[Path]] = {}
    saved = [entry for entry in entries(path) if (entry / _DATASET).is_file()]
    for file in saved or sorted(path.rglob("*.parquet")):
        found.setdefault(file.name if saved else _split_of(file, path), []).append(file)
    for name, files in found.items():
        folders = sorted({str(file.parent) for file in files})
        if is_split_name(name) and len(folders) > 1:
            raise UserError(
                f"hf: one folder holds a split, but {name} is in {' and '.join(folders[:3])}; give "
                "the folder of one configuration or language"
            )
    parts = [
        _Part(name=name, folder=files[0] if saved else path, files=() if saved else tuple(files))
        for name, files in found.items()
        if is_split_name(name)
    ]
    others = [name for name in found if not is_split_name(name)]
    if not parts:
        named = f"; its splits are {', '.join(others)}" if others else f"; {holds(path)}"
        raise UserError(
            f"hf: no dataset of save_to_disk and no .parquet in {path} is named after a split: "
            f"{SPLIT_NAMES}{named}; rename them, or give another folder"
        )
    return parts, others


def _own_name(name: str) -> str:
    return name if is_split_name(name) else ""


def _shard(file: Path) -> str:
    """The name of a Parquet file without the number of its shard."""
    match = _SHARD.fullmatch(file.stem)
    return match["name"] if match else file.stem


def _split_of(file: Path, root: Path) -> str:
    """The name of the split of a Parquet file: its own, or that of the nearest folder that has a
    split's; else its own."""
    folders = [folder.name for folder in file.relative_to(root).parents if folder.name]
    own = _shard(file)
    return next((name for name in (own, *folders) if is_split_name(name)), own)


def _stamps(path: Path) -> list[list[object]]:
    """Name, size and time of every file of a dataset."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def _unpack(
    parts: Sequence[_Part], names: Mapping[str, str], path: Path, cache: Path, folder: Path
) -> None:
    """Write every recording and the rows of all parts to `folder`, which is in `cache`.

    Raises:
        UserError: the extra is missing, the dataset is damaged or lacks a column, too little room.
        OSError: the folder cannot be written.
    """
    size = sum(f.stat().st_size for part in parts for f in part.files or part.folder.iterdir())
    if (free := shutil.disk_usage(cache).free) < size:
        raise UserError(
            f"the recordings of {path} take up to {size / 1e9:.1f} GB unpacked, and "
            f"{cache} has {free / 1e9:.1f} GB free; set {CACHE_VARIABLE} to a larger disk"
        )
    _log.info("hf: unpacking the recordings of %s (%.1f GB) into %s", path, size / 1e9, cache)
    found: list[tuple[Row, str]] = []
    with TemporaryDirectory(dir=cache) as temporary:
        for part in parts:
            found += _unpacked(part, names, folder, temporary)
    with (folder / _ROWS).open("w", encoding="utf-8") as handle:
        for row in _with_ids(found, "id" in names):
            inside = row.audio.is_relative_to(folder)
            audio = row.audio.relative_to(folder) if inside else row.audio
            handle.write(json.dumps(asdict(row) | {"audio": str(audio)}) + "\n")


def _unpacked(
    part: _Part, names: Mapping[str, str], folder: Path, temporary: str
) -> Iterator[tuple[Row, str]]:
    """The rows of `part`, each recording written to `folder`, with the name of the recording."""
    with _damage(part):
        dataset = _opened(part, temporary)
        features = dataset.features
    columns = _columns(part, features, names)
    rows = iter(dataset.select_columns(sorted({columns.audio, columns.text, *columns.plain})))
    for number in count():
        with _damage(part):
            fields = next(rows, None)
        if fields is None:
            return
        where = f"{part.folder}, row {number} of {part.name or 'the dataset'}"
        texts = {name: _text(fields[name], features[name]) for name in columns.plain}
        place = f"audio/{part.name or 'rows'}/{number // _FILES_PER_FOLDER:04d}/{number:08d}"
        yield _row(where, fields, texts, columns, part.name, folder / place)


def _opened(part: _Part, temporary: str) -> "Dataset | IterableDataset":
    """The dataset of `part`, whose audio comes as bytes and rows one at a time from disk."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"corpus hf is read by Hugging Face's datasets, which is not installed ({error}); run: "
            "pip install 'deepspeech-bench[hf]'"
        ) from error
    # It logs its errors and raises them too.
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    dataset: Dataset | IterableDataset
    if part.files:
        # Streamed, or the library would convert all to Arrow in a cache of its own first.
        dataset = datasets.load_dataset(
            "parquet",
            data_files={"train": [str(file) for file in part.files]},
            split="train",
            streaming=True,
            cache_dir=temporary,
        )
    else:
        loaded = datasets.load_from_disk(str(part.folder))
        assert isinstance(loaded, datasets.Dataset), "a folder with state.json holds a Dataset"
        dataset = loaded.with_format(None)
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Audio):
            # Decoded here, not by torchcodec, which the library would ask for.
            dataset = dataset.cast_column(name, datasets.Audio(decode=False))
    return dataset


def _damage(part: _Part) -> AbstractContextManager[None]:
    return read_by_library(f"hf: {part.folder} cannot be read", "restore it")


def _columns(part: _Part, features: "Features", names: Mapping[str, str]) -> _Columns:
    """The columns of `part` by what they are."""
    have = ", ".join(features)
    for theirs in names.values():
        if theirs not in features:
            raise UserError(
                f"hf: --columns names {theirs!r}, but the columns of {part.folder} are {have}; "
                "correct the name"
            )
    found = {
        ours: names.get(ours) or next((name for name in usual if name in features), "")
        for ours, usual in _USUAL.items()
    }
    for ours in ("audio", "text"):
        if not found[ours]:
            raise UserError(
                f"hf: {part.folder} needs a column {' or '.join(map(repr, _USUAL[ours]))}, and its "
                f"columns are {have}; name it with --columns {ours}=NAME"
            )
    attributes = tuple(
        name
        for name, feature in features.items()
        if name not in found.values() and _is_plain(feature)
    )
    return _Columns(**found, attributes=attributes)


def _is_plain(feature: object) -> bool:
    """True for a column of text, numbers, booleans or classes."""
    kind = str(getattr(feature, "dtype", ""))
    is_plain = re.fullmatch(r"(large_)?string|u?int\d+|float\d+|bool", kind)
    return hasattr(feature, "names") or is_plain is not None


def _row(
    where: str,
    fields: Mapping[str, object],
    texts: Mapping[str, str],
    columns: _Columns,
    name: str,
    place: Path,
) -> tuple[Row, str]:
    """A row whose recording is written to `place`, and the name of the recording, "" without.

    `texts` are the plain columns; `name` is that of the split, "" where a column names it.
    """
    text = fields[columns.text]
    if not isinstance(text, str):
        raise UserError(
            f"{where}: column {columns.text!r} holds text, got {text!r}; correct or remove the row"
        )
    split = name or texts.get(columns.split, "")
    if not split:
        raise UserError(
            f"{where} names no split; save a DatasetDict, name the file or folder after its split, "
            "or add a column 'split'"
        )
    audio, original = _recording(where, fields[columns.audio], place)
    row = Row(
        id=texts.get(columns.id, ""),
        audio=audio,
        text=text,
        speaker=texts.get(columns.speaker, ""),
        split=split,
        attributes={name: texts[name] for name in columns.attributes if texts[name]},
    )
    return row, original


def _text(value: object, feature: object) -> str:
    """A value as text; of a class its name, "" for none."""
    if value is None or (hasattr(feature, "names") and value == -1):  # -1: a class left unknown
        return ""
    if isinstance(value, int) and (names := getattr(feature, "names", None)):
        return str(names[value])
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _recording(where: str, value: object, place: Path) -> tuple[Path, str]:
    """The file of a recording given as ``{"bytes": …, "path": …}``, bytes or a path, and the name
    that the dataset has for it; bytes are written to `place` with the recording's suffix."""
    data, path = value, None
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        data, path = value.get("bytes"), value.get("path")
    elif isinstance(value, str):
        data, path = None, value
    if not isinstance(data, bytes | None) or not isinstance(path, str | None):
        raise UserError(
            f"{where}: audio is the bytes of a recording or its path, got "
            f"{type(data).__name__}; cast it: dataset.cast_column('audio', datasets.Audio())"
        )
    original = without_suffix(Path(path).name) if path else ""
    if data is None and path:
        return Path(path).absolute(), original
    suffix = Path(path).suffix.lower() if path else ""
    known = suffix if suffix in AUDIO_SUFFIXES else ""
    file = place.with_name(place.name + known)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Without bytes and without a path an empty file, so that it is listed among the other faults.
    file.write_bytes(data or b"")
    return file, original


def _with_ids(found: Sequence[tuple[Row, str]], is_named: bool) -> list[Row]:
    """The rows with ids that differ: those of the dataset's column, else the recordings' names,
    else split and number; a column that ``--columns`` names is taken as it is."""
    rows = [row for row, _ in found]
    numbers: defaultdict[str, count[int]] = defaultdict(count)
    places = [f"{row.split}-{next(numbers[row.split]):06d}" for row in rows]
    for ids in ([row.id for row in rows], [original for _, original in found], places):
        is_whole = all(ids) and len(set(ids)) == len(ids)
        if is_named or is_whole:
            return [
                replace(row, id=id, speaker=row.speaker or unnamed_speaker(id))
                for row, id in zip(rows, ids, strict=True)
            ]
    raise AssertionError("numbers within a split differ")


HUGGING_FACE = CorpusSpec(
    name="hf",
    summary="a folder of Hugging Face's save_to_disk, or Parquet files with audio inside",
    source="the file or folder given as hf:PATH; https://huggingface.co/docs/datasets",
    read=_read,
    has_columns=True,
)
