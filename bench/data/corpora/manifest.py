"""Corpora that are lists of files: JSON lines as NeMo writes them, CSV or TSV with a header.

A row has ``audio_filepath`` (relative to the manifest's folder, or absolute) and ``text``, and may
have ``speaker``, ``split`` and ``id``; other fields, ``duration`` included, are read from the
audio or not at all. Either one file whose rows name their split, or a folder with one file per
split: train.jsonl, valid.jsonl, test.jsonl, and perhaps watch.jsonl.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.core.parsing import parse_json
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row
from bench.data.utterance import SPLITS

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (".jsonl", ".json", *_DELIMITERS)
_UNKNOWN = "unknown-"
"""What the stand-in for a speaker that is not named begins with."""
_FORMS = "JSON lines (.jsonl, .json), .csv or .tsv"


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    if config.path is None:
        raise UserError("a manifest needs its path; write --corpus manifest:PATH")
    return read_manifest(Path(config.path))


def read_manifest(path: Path) -> Listing:
    """The rows of the manifest file, or of the folder with one manifest per split, at `path`.

    Raises:
        UserError: nothing there, a row that cannot be read or lacks a field, or an unknown split;
            names file and line.
    """
    if path.is_dir():
        files = {split: _file_of(split, path) for split in SPLITS}
        rows = [r for split, file in files.items() if file for r in _rows(file, split)]
    elif path.is_file():
        rows = list(_rows(path, None))
    else:
        raise UserError(f"manifest {path} does not exist; give a file or a folder with {_FORMS}")
    if not rows:
        raise UserError(f"manifest {path} lists no utterances; give rows in {_FORMS}")
    nameless = sum(row.speaker.startswith(_UNKNOWN) for row in rows)
    note = f"{nameless} utterances name no speaker: each counts as a speaker of its own"
    return Listing(rows=tuple(rows), notes=(note,) if nameless else ())


def _file_of(split: str, folder: Path) -> Path | None:
    found = [folder / (split + suffix) for suffix in _SUFFIXES]
    found = [file for file in found if file.is_file()]
    if len(found) > 1:
        raise UserError(
            f"one manifest per split, but {folder} has {found[0].name} and {found[1].name}; "
            "remove one"
        )
    return found[0] if found else None


def _rows(file: Path, split: str | None) -> Iterator[Row]:
    for where, fields in _fields(file):
        audio = _text_of(fields, "audio_filepath", where)
        if not Path(audio).stem.strip("."):
            raise UserError(f"{where}: audio_filepath {audio!r} names no file; name the recording")
        if fields.get("offset") not in (None, "", 0, "0", "0.0"):
            raise UserError(
                f"{where}: rows are whole recordings, got offset {fields['offset']}; cut the "
                "audio first"
            )
        name = _name_of(fields, "id", where) or str(Path(audio).with_suffix(""))
        yield Row(
            id=name,
            audio=file.parent / _expanded(audio, where),
            text=_text_of(fields, "text", where),
            speaker=_name_of(fields, "speaker", where) or f"{_UNKNOWN}{name}",
            split=split or _split_of(fields, where),
        )


def _fields(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row of `file` as a mapping, with ``file:line`` to name it by."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            if delimiter := _DELIMITERS.get(file.suffix.lower()):
                table = csv.DictReader(handle, delimiter=delimiter, restval="")
                for fields in table:
                    yield f"{file}:{table.line_num}", fields
                return
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    yield f"{file}:{number}", _parsed(line, f"{file}:{number}")
    except OSError as error:
        raise UserError(
            f"manifest {file} cannot be read ({error.strerror}); mend that first"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"manifest {file} is not UTF-8 text ({error.reason}); convert it"
        ) from error
    except csv.Error as error:
        raise UserError(
            f"manifest {file} is not a table ({error}); write it as {_FORMS}"
        ) from error


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise UserError(
            f"{where}: each row of a manifest is one JSON object, got {line.strip()[:60]!r} "
            f"({error}); correct the row"
        ) from error
    if not isinstance(fields, dict):
        raise UserError(
            f"{where}: each row of a manifest is one JSON object, got {line.strip()[:60]!r}; "
            "correct the row"
        )
    return fields


def _text_of(fields: Mapping[str, Any], key: str, where: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        have = ", ".join(str(name) for name in fields)
        raise UserError(
            f"{where}: a row needs {key!r} as text, got {value!r}; its fields are {have}"
        )
    return value


def _name_of(fields: Mapping[str, Any], key: str, where: str) -> str:
    """A name, "" where there is none; some tools count instead of naming."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise UserError(f"{where}: {key} is a name or a number, got {value!r}; correct the row")
    return "" if value is None else str(value)


def _expanded(audio: str, where: str) -> Path:
    try:
        return Path(audio).expanduser()
    except (RuntimeError, ValueError) as error:  # no such user; no name of a user
        raise UserError(f"{where}: {audio!r}: {error}; write the whole path") from error


def _split_of(fields: Mapping[str, Any], where: str) -> str:
    split = fields.get("split")
    if not split:
        raise UserError(
            f"{where}: the row names no split; add a field 'split', or give a folder with "
            "train.jsonl, valid.jsonl and test.jsonl"
        )
    if split not in SPLITS:
        raise UserError(f"{where}: unknown split {split!r}; {near_names(str(split), SPLITS)}")
    return str(split)


MANIFEST = CorpusSpec(
    name="manifest",
    summary="your own recordings, listed in JSON lines, CSV or TSV",
    source="the file or folder given as manifest:PATH",
    read=_read,
)
