import math

import pytest

from bench.core.parsing import MAX_DEPTH, parse_json, parse_toml


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
