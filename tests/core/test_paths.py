from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.core.errors import UnwritableError
from bench.core.paths import append_text, cache_root, cut_torn_line, write_json, write_text

LittleRoom = Callable[[int], AbstractContextManager[None]]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_cache_root_is_the_users_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", "/somewhere")
    assert cache_root() == Path("/somewhere")
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/deepspeech-bench")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, little_room: LittleRoom) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old\n")
    with little_room(10), pytest.raises(UnwritableError, match=r"x\.json cannot be written \(File"):
        write_text(path, "new " * 10)
    assert path.read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_takes_no_half_line(tmp_path: Path, little_room: LittleRoom) -> None:
    path = tmp_path / "lines"
    append_text(path, "one\n")
    with little_room(10), pytest.raises(UnwritableError, match="run the same command again"):
        append_text(path, "two and a half\n")
    assert path.read_text() == "one\n"
    append_text(path, "three\n")
    assert path.read_text() == "one\nthree\n"


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("a\n", "a\n"), ("a\nb", "a\n"), ("ab", "")]
)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "lines"
    path.write_text(before)
    with path.open("r+b", buffering=0) as handle:
        cut_torn_line(handle)
    assert path.read_text() == after
