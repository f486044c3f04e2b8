import gzip
import math

import pytest

from bench.core import parsing
from bench.core.parsing import MAX_DEPTH, decode_text, parse_json, parse_toml, split_lines


def test_values_are_those_of_the_text() -> None:
    assert parse_json('{"a": ["é", 1, null]}') == {"a": ["é", 1, None]}
    assert parse_json(b"[]") == []
    assert math.isnan(parse_json("NaN"))
    assert parse_toml("a.b = 1") == {"a": {"b": 1}}
    assert parse_json('"\\ud83d\\ude00"') == "😀", "both halves of a pair"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        b"\xff",
        "9" * 5000,
        "[1" + "0" * 400 + "]",
        '{"a": "\\ud800"}',
        '{"a": 1, "b": 2, "a": 1}',
        "[" * 5000,
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    ],
)
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["a", "a = " + "9" * 5000, "a = " + "[" * 5000, "a." * 60 + "a = 1"]
)
def test_so_is_no_toml(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_toml(text)


def test_text_is_utf8_with_or_without_a_mark_also_gzipped() -> None:
    for text in ("é\r\n", "\ufeffé\r\n"):
        assert decode_text(text.encode()) == "é\r\n"
        assert decode_text(gzip.compress(text.encode(), mtime=0)) == "é\r\n"
    assert decode_text(gzip.compress(b"a", mtime=0) + gzip.compress(b"b")) == "ab", "joined by cat"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("é".encode("utf-16"), "it is UTF-16 text; convert it: iconv"),
        (b"\xfe\xff" + "é".encode("utf-16-be"), "it is UTF-16 text; convert it: iconv"),
        ("é".encode("utf-32"), "it is UTF-32 text; convert it: iconv"),
        ("a.wav,é".encode("utf-16-le"), "it is UTF-16 text without its mark"),
        ("a.wav,é".encode("utf-16-be"), "it is UTF-16 text without its mark"),
        (b"a\nb\0cdefghij", "it holds NUL bytes"),
        ("a\ncafé".encode("latin-1"), "it is not UTF-8: byte 0xe9 in line 2; convert it"),
        (b"PK\x03\x04...", "it is a ZIP archive or a spreadsheet"),
        (b"PAR1...", "it is a Parquet table"),
        (gzip.compress(b"a" * 100, mtime=0)[:-9], "its gzip compression is damaged"),
        (gzip.compress(b"a" * 100, mtime=0) + b"b", "its gzip compression is damaged"),
        (gzip.compress("é".encode("utf-16"), mtime=0), "it is UTF-16 text"),
    ],
)
def test_other_bytes_are_named_for_what_they_are(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_text(data)


def test_a_small_file_cannot_unpack_to_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_TEXT_BYTES", 1000)
    assert len(decode_text(gzip.compress(b"a" * 1000, mtime=0))) == 1000
    with pytest.raises(ValueError, match="it unpacks to more than 1,000 bytes"):
        decode_text(gzip.compress(b"a" * 1001, mtime=0))


def test_lines_end_where_systems_end_them_and_not_elsewhere() -> None:
    assert split_lines("a\u2028b\x0cc\n\nd\r\ne\rf\n") == ["a\u2028b\x0cc", "", "d", "e", "f", ""]
