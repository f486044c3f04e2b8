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
