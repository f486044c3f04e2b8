"""Parsing of text, JSON and TOML from users' files; invalid input raises ValueError only."""

import codecs
import gzip
import io
import json
import re
import sys
import tomllib
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")

MAX_DEPTH = 50
"""Limit on the nesting of values, below what exhausts Python's stack; the project's files have 5
levels."""
MAX_TEXT_BYTES = 2**31
"""Limit on the unpacked size of gzipped text; enough for a manifest of ten million utterances."""

_GZIP_MAGIC = b"\x1f\x8b"
_OTHER_FORMATS = {
    codecs.BOM_UTF32_LE: "UTF-32 text; convert it: iconv -f UTF-32 -t UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32 text; convert it: iconv -f UTF-32 -t UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (xlsx, ods); unpack it, or save it as CSV",
    b"BZh": "compressed with bzip2; unpack it, or use gzip",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it, or use gzip",
    b"PAR1": "a Parquet table; export it as JSON lines or CSV",
}
"""First bytes of formats that are often given instead of UTF-8 text. UTF-32 comes first, since its
byte order mark begins with that of UTF-16."""
_LINE_END = re.compile(r"\r\n|\r|\n")


def decode_text(data: bytes) -> str:
    """The text of a file's bytes: UTF-8, with or without a byte order mark, also gzipped.

    Raises:
        ValueError: damaged gzip, another encoding, or no text; the message names the format.
    """
    if data.startswith(_GZIP_MAGIC):
        data = _unzipped(data)
    for begin, found in _OTHER_FORMATS.items():
        if data.startswith(begin):
            raise ValueError(f"it is {found}")
    if b"\0" in data:
        # Latin letters in UTF-16 have zeros at all even or all odd positions, by byte order.
        if max(data[side::2].count(0) for side in (0, 1)) > len(data) // 3:
            raise ValueError(
                "it is UTF-16 text without its mark; convert it: iconv -f UTF-16LE -t UTF-8 (or BE)"
            )
        raise ValueError("it holds NUL bytes, so it is no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"it is not UTF-8: byte 0x{data[error.start]:02x} in line {line}; convert it, as in "
            "iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def _unzipped(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as handle:
            text = handle.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its gzip compression is damaged: {error}") from error
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_TEXT_BYTES:,} bytes")
    return text


def split_lines(text: str) -> list[str]:
    """The lines of `text`, ended by LF, CR LF or CR; the last may be "".

    Unlike str.splitlines, this does not split at characters that a transcript may hold (U+2028).
    """
    return _LINE_END.split(text)


def parse_json(text: str | bytes) -> object:
    """The JSON value in `text`; NaN and Infinity are accepted, as Python writes them.

    Raises:
        ValueError: no JSON, no UTF-8, a duplicate key in an object, an integer beyond the largest
            float, a lone surrogate (which cannot be encoded), nesting too deep.
    """
    load = partial(json.loads, object_pairs_hook=_object)
    return _checked(load, text.decode() if isinstance(text, bytes) else text)


def parse_toml(text: str) -> dict[str, object]:
    """The TOML document in `text`; errors as in `parse_json`."""
    return _checked(tomllib.loads, text)


def _checked(parse: Callable[[str], T], text: str) -> T:
    try:
        value = parse(text)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error
    # Level by level, not by recursion: a file that is nested deeper than Python's stack is an error
    # with a line of text, too.
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        if any(isinstance(item, int) and abs(item) > sys.float_info.max for item in level):
            raise ValueError(f"it holds an integer beyond {sys.float_info.max:.0e}")
        level = [item for outer in level for item in _items(outer)]
        if not level:
            break
    else:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if "\\u" in text:
        # A lone surrogate can only come from an escape; decoded UTF-8 has none. `encode` raises.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse duplicate keys, of which Python's parser silently takes the last."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is there twice")
    return value


def _items(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
