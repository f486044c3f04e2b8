import pwd
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.core.errors import UnwritableError, UserError
from bench.core.files import append_text, truncate_incomplete_line, write_json, write_text
from bench.core.paths import cache_folder, cache_lock, cache_root, made_once, writing_cache

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


def test_a_relative_cache_is_the_same_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", "cache")
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", "~/mine")
    assert cache_root() == tmp_path / "mine"


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("BENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"HOME is not set.*set BENCH_CACHE to a whole path"):
        cache_root()


def test_a_cache_that_cannot_be_written_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    for write in (lambda: cache_folder("a"), lambda: cache_lock("a").__enter__()):
        with pytest.raises(UnwritableError, match="set BENCH_CACHE to a folder with room"):
            write()
    full = UnwritableError(tmp_path, OSError(28, "No space left on device"))
    full.__cause__ = OSError(28, "No space left on device")
    with (
        pytest.raises(UnwritableError, match=r"No space left.*set BENCH_CACHE"),
        writing_cache(tmp_path),
    ):
        raise full


def test_a_folder_is_made_once_and_an_error_leaves_none(tmp_path: Path) -> None:
    folder, fills = tmp_path / "new" / "a.b", []

    def fill(place: Path) -> None:
        fills.append(place)
        (place / "part").touch()
        if len(fills) == 1:
            raise KeyError("no such voice")

    with pytest.raises(KeyError):
        made_once(folder, fill)
    assert [path.name for path in folder.parent.iterdir()] == ["a.b.lock"]
    assert made_once(folder, fill) == made_once(folder, fill) == folder
    assert [path.name for path in folder.iterdir()] == ["part"]
    assert len(fills) == 2


@pytest.mark.parametrize("place", [".", "..", "/", "folder"])
def test_a_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnwritableError, match=r"cannot be written \(it is a folder\); name a file"):
        write_text(Path(place), "x")


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
        truncate_incomplete_line(handle)
    assert path.read_text() == after
