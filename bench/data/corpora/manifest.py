"""Corpora that are lists of files: JSON lines as NeMo writes them, a JSON array, CSV or TSV.

bench.data.corpora.rows says which columns there are. Either one file, whose rows name their split
unless its own name does (``test_manifest.json``), or a folder with one file per split
(``train.jsonl``, ``dev_manifest.json``, …; bench.data.corpora.splits has the names).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.tables import TABLE_FORMS, TABLE_SUFFIXES, table_suffix
from bench.data.corpora.folders import entries, holds
from bench.data.corpora.rows import read_rows
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row, parse_columns
from bench.data.corpora.splits import SPLIT_NAMES, is_split_name, splits_of, unread

Reader = Callable[[Path], Iterator[tuple[str, Row]]]
"""The rows of a table, each with its place for errors; see `read_rows`."""
_WORD_ENDS = re.compile(r"[-_. ]+")
_KINDS = ("manifest", "cuts")
"""What may stand beside the split in a table's name."""


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    read = partial(read_rows, names=parse_columns(config.columns))
    return read_manifest(config.required_path(), read)


def read_manifest(path: Path, read: Reader = read_rows) -> Listing:
    """The rows of the manifest file, or of the folder with one manifest per split, at `path`.

    Args:
        path: a table, or a folder of tables.
        read: gives the rows of one table.

    Raises:
        UserError: nothing there, a row that cannot be read or lacks a field, or an unknown split;
            names file and line.
    """
    if not path.is_dir():
        return listing_of(rows_of_file(path, read), path)
    files = tables_by_split(path, TABLE_SUFFIXES)
    if not files:
        raise UserError(
            f"no table in {path} is named after a split: {SPLIT_NAMES}; also as NAME_manifest, in "
            f"{TABLE_FORMS}; {holds(path)}; rename the tables, or give one whose rows name their "
            "split"
        )
    others = [
        entry.name
        for entry in entries(path)
        if table_suffix(entry) in TABLE_SUFFIXES and entry not in files.values()
    ]
    rows = [row for split, file in files.items() for row in rows_of_split(file, split, read)]
    return listing_of(rows, path, unread(others))


def listing_of(rows: Iterable[Row], path: Path, notes: tuple[str, ...] = ()) -> Listing:
    """`rows` of the table or folder `path`, of which there must be some."""
    listed = tuple(rows)
    if not listed:
        raise UserError(f"{path} lists no utterances; give rows in {TABLE_FORMS}")
    return Listing(rows=listed, notes=notes)


def tables_by_split(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The tables in `folder` that are named after a split, by the split that they stand for.

    Raises:
        UserError: two tables of one split, or a folder named like a table.
    """
    files: dict[str, Path] = {}
    for entry in entries(folder):
        name = _split_name(entry)
        if not name or table_suffix(entry) not in suffixes:
            continue
        if entry.is_dir():
            raise UserError(f"{entry} is a folder, but named like a manifest; rename it")
        if name in files:
            raise UserError(
                f"one manifest per split, but {folder} has {files[name].name} and {entry.name}; "
                "remove one"
            )
        files[name] = entry
    splits = splits_of({name: str(file) for name, file in files.items()})
    return {split: files[name] for name, split in splits.items()}


def _split_name(file: Path) -> str:
    """The split that `file` is named after, as in ``dev.tsv`` or ``dev_manifest.json.gz``; "" if it
    is none."""
    stem = Path(file.name.casefold().removesuffix(".gz")).stem
    words = [word for word in _WORD_ENDS.split(stem) if word not in _KINDS]
    return words[0] if len(words) == 1 and is_split_name(words[0]) else ""


def rows_of_split(file: Path, split: str, read: Reader = read_rows) -> list[Row]:
    """The rows of a table whose own name says that they are of `split`."""
    own = _split_name(file)
    rows = []
    for where, row in read(file):
        if row.split and row.split != own and splits_of({row.split: where})[row.split] != split:
            raise UserError(
                f"{where}: the row is of split {row.split!r}, but {file.name} is named after "
                f"{own!r}; rename the file or correct the row"
            )
        rows.append(replace(row, split=split))
    return rows


def rows_of_file(file: Path, read: Reader = read_rows) -> list[Row]:
    """The rows of a table that stands alone: each names its split, or none does and the table's
    name does."""
    found = list(read(file))
    places: dict[str, str] = {}
    for where, row in found:
        places.setdefault(row.split, where)
    own = _split_name(file)
    if own and set(places) == {""}:
        split = splits_of({own: str(file)})[own]
        return [replace(row, split=split) for _, row in found]
    if "" in places:
        raise UserError(
            f"{places['']}: the row names no split; add a field 'split', name the file after its "
            "split, or give a folder with train.jsonl, valid.jsonl and test.jsonl"
        )
    splits = splits_of(places)
    return [replace(row, split=splits[row.split]) for _, row in found]


MANIFEST = CorpusSpec(
    name="manifest",
    summary="your own recordings or parts of them, listed in JSON lines, CSV or TSV",
    source="the file or folder given as manifest:PATH",
    read=_read,
    has_columns=True,
)
