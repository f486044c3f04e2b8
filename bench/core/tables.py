"""Reading of users' tables: JSON lines, a JSON array, CSV or TSV, all also gzipped.

A row is one line with exactly the cells of the header, so that a surplus comma or quote is an error
and cannot move text to another cell or merge two lines. CSV cells may be quoted, as spreadsheets
write them; in TSV a quote is an ordinary character, as in Common Voice.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.core.errors import UserError
from bench.core.parsing import parse_json, split_lines
from bench.core.paths import read_text

TABLE_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")
TABLE_FORMS = "JSON lines (.jsonl, .json, .ndjson), .csv or .tsv, also with .gz"

_SHOWN = 60
"""Characters of a faulty row that an error quotes."""
_LATE_QUOTE = re.compile(r'\s+"')
_INDEX = re.compile(r"\d*")
"""The content of the nameless first column that pandas writes (its index)."""

Fields = Mapping[str, object]
"""A row by column name; cells of CSV and TSV are stripped text."""


def table_suffix(path: Path) -> str:
    """The suffix of `path` that states its format: in lower case, without ``.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_table(path: Path, what: str) -> Iterator[tuple[str, Fields]]:
    """Each row of the table at `path`, with its ``file:line`` for errors.

    The format goes by the suffix; other suffixes are read as JSON. `what` is the kind of file for
    errors, such as "manifest".

    Raises:
        UserError: the file cannot be read or is not UTF-8 text, or a row is malformed; names the
            line, and the missing or surplus cell.
    """
    text = read_text(path, what)
    match table_suffix(path):
        case ".csv":
            return _delimited(path, text, ",", _quoted_cells)
        case ".tsv":
            return _delimited(path, text, "\t", lambda line, where: line.split("\t"))
    return _array(path, text) if text.lstrip().startswith("[") else _json_lines(path, text)


def _lines(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(split_lines(text), start=1):
        # Concatenated files may have byte order marks within.
        yield f"{path}:{number}", line.lstrip("\ufeff")


def _delimited(
    path: Path, text: str, delimiter: str, split: Callable[[str, str], list[str]]
) -> Iterator[tuple[str, Fields]]:
    header: list[str] = []
    for where, line in _lines(path, text):
        cells = [cell.strip() for cell in split(line, where)]
        if not any(cells):  # an empty line, which spreadsheets may write as ",,,"
            continue
        if cells == header:
            raise UserError(
                f"{where}: the header is there again; remove it, if two tables were joined"
            )
        if header:
            yield where, _row(header, cells, delimiter, where)
        else:
            header = _header(cells, delimiter, where)


def _quoted_cells(line: str, where: str) -> list[str]:
    try:
        # A reader for each line, so that an unclosed quote does not continue on the next line.
        cells = next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise UserError(
            f"{where}: a quoted cell of CSV ends in its own line, with a quote before a comma or "
            f'the line\'s end, got {_shown(line)} ({error}); write "" for a quote within a cell, '
            "and no line breaks"
        ) from error
    if late := next(filter(_LATE_QUOTE.match, cells), None):
        raise UserError(
            f"{where}: a quote after a blank does not quote a cell of CSV, got {_shown(late)}; "
            "remove the blank"
        )
    return cells


def _header(cells: list[str], delimiter: str, where: str) -> list[str]:
    if len(cells) == 1 and (other := next((c for c in "\t;,|" if c in cells[0]), "")):
        raise UserError(
            f"{where}: the cells of this table are separated by {delimiter!r}, but its header has "
            f"one cell with {other!r} in it: {_shown(cells[0])}; separate cells by {delimiter!r}"
        )
    for name in cells:
        if name and cells.count(name) > 1:
            raise UserError(f"{where}: the header names column {name!r} twice; rename one")
    return cells


def _row(header: list[str], cells: list[str], delimiter: str, where: str) -> Fields:
    if len(cells) > len(header):
        hint = f"quote the cell that holds {delimiter!r}" if delimiter == "," else "remove it"
        raise UserError(
            f"{where}: a row has as many cells as the header, {len(header)}, but this one has "
            f"{len(cells)}: surplus cell {_shown(cells[len(header)])}; {hint}"
        )
    if len(cells) < len(header):
        raise UserError(
            f"{where}: a row has as many cells as the header, {len(header)}, but this one has "
            f"{len(cells)}: no cell for {header[len(cells)]!r}; add it"
        )
    # pandas writes its index as a nameless first column; any other text there has lost its column.
    for number, (name, cell) in enumerate(zip(header, cells, strict=True)):
        if not name and not (number == 0 and _INDEX.fullmatch(cell)) and cell:
            raise UserError(
                f"{where}: cell {_shown(cell)} is in a column that the header does not name; name "
                "it, or quote the cell that it was a part of"
            )
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Fields]]:
    for where, line in _lines(path, text):
        if line.strip():
            try:
                value = parse_json(line)
            except ValueError as error:
                raise _no_object(where, line, f" ({error})") from error
            yield where, _object(value, where, line)


def _array(path: Path, text: str) -> Iterator[tuple[str, Fields]]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise UserError(
            f"{path} begins with '[', but is no JSON array ({error}); correct it, or write one "
            "object a line"
        ) from error
    assert isinstance(values, list), "its text begins with ["
    for number, value in enumerate(values, start=1):
        where = f"{path}: item {number}"
        yield where, _object(value, where, str(value))


def _object(value: object, where: str, shown: str) -> Fields:
    if not isinstance(value, dict):
        raise _no_object(where, shown)
    return value


def _no_object(where: str, line: str, reason: str = "") -> UserError:
    return UserError(
        f"{where}: each row is one JSON object, got {_shown(line.strip())}{reason}; correct the "
        "row, or name a table of another form .csv or .tsv"
    )


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
