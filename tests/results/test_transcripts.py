import json
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.results.transcripts import read_json_lines


def write(path: Path, *offsets: object) -> Path:
    rows = [
        {"audio_filepath": "meet/call.07.wav", "offset": offset, "text": "good", "pred_text": "god"}
        for offset in offsets
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_snippets_of_one_recording_are_distinguished_by_their_offsets(tmp_path: Path) -> None:
    texts = read_json_lines(write(tmp_path / "a.jsonl", 0.0, 2.1, "3.8", None)).texts
    assert list(texts) == [
        "meet/call.07@0", "meet/call.07@2.1", "meet/call.07@3.8", "meet/call.07",
    ]  # fmt: skip


def test_an_offset_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl:2: offset is a number of seconds, .* got 'x'"):
        read_json_lines(write(tmp_path / "a.jsonl", 0.0, "x"))
    with pytest.raises(UserError, match=r"a\.jsonl:2: 'meet/call\.07@2' is there already"):
        read_json_lines(write(tmp_path / "a.jsonl", 2, 2.0))


def test_a_dot_in_a_name_is_no_suffix(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    names = ("a.b", "a.c", "a.b.flac.WAV")
    rows = [{"audio_filepath": name, "text": "good", "pred_text": "god"} for name in names]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_json_lines(file).texts) == ["a.b", "a.c", "a.b.flac"]


@pytest.mark.parametrize("field", ["id", "speaker"])
@pytest.mark.parametrize("value", [float("nan"), 1.5, True, ["x"]])
def test_an_id_or_a_speaker_that_is_no_name_is_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    """pandas writes NaN where a speaker is missing: all of those would be one speaker."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "u", "text": "a", "pred_text": "a", field: value}))
    with pytest.raises(UserError, match=f"a.jsonl:1: {field} is a name or a whole number, got"):
        read_json_lines(path)


def test_what_is_missing_is_no_attribute(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"id": " u1 ", "text": "a", "pred_text": "a", "age": float("nan"), "gender": None}
    path.write_text(json.dumps({**row, "accent": "scots", "native": True, "year": 1990}))
    read = read_json_lines(path).texts["u1"]
    assert read.attributes == {"accent": "scots", "native": "true", "year": "1990"}
