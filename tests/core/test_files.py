"""One lock and one atomic write, seen from the process that comes second."""

import math
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.core.errors import TemporaryError, UnwritableError
from bench.core.files import atomic_write, exclusive_lock, write_text


def _hold(path: Path, pipe: Connection) -> None:
    with exclusive_lock(path):
        pipe.send(True)
        pipe.recv()


def test_a_lock_that_another_process_holds_is_not_waited_for_names_it_and_is_free_once_it_dies(
    tmp_path: Path,
) -> None:
    path, waits = tmp_path / "new" / "a.lock", list[int]()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    holder = context.Process(target=_hold, args=(path, there), daemon=True)
    holder.start()
    assert here.recv()
    with (
        pytest.raises(TemporaryError, match=f"a.lock is held by process {holder.pid} of "),
        exclusive_lock(path, patience_seconds=0, on_wait=lambda: waits.append(1)),
    ):
        pytest.fail("two hold it")
    holder.kill()
    with exclusive_lock(path, patience_seconds=math.inf):
        assert path.read_text().startswith(f"process {os.getpid()} of ")
    holder.join()
    assert waits == [1]
    assert path.read_bytes() == b"", "nobody is named once it is free"


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive_lock(tmp_path / "a.lock"):
        raise KeyError
    with exclusive_lock(tmp_path / "a.lock", patience_seconds=0):
        pass


def test_a_lock_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnwritableError, match=r"file.a\.lock cannot be written"),
        exclusive_lock(tmp_path / "file" / "a.lock"),
    ):
        pytest.fail("held")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("bug"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, error: BaseException, is_shared: bool
) -> None:
    path = tmp_path / "a"
    write_text(path, "old")
    expected = UnwritableError if isinstance(error, OSError) else type(error)

    def write() -> None:
        with atomic_write(path, is_shared=is_shared, keep_before=tmp_path / "b") as file:
            file.write(b"half")
            raise error

    with pytest.raises(expected):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


def test_a_folder_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match=r"file/value\.json cannot be written"):
        write_text(tmp_path / "file" / "value.json", "1")


def test_the_old_content_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    path, before = tmp_path / "a", tmp_path / "a.1"
    for text in (b"1", b"2", b"3"):
        with atomic_write(path, keep_before=before) as file:
            file.write(text)
            assert path.exists() == (text != b"1"), "the old one is there until the end"
    assert (path.read_bytes(), before.read_bytes()) == (b"3", b"2")


def test_a_file_of_one_process_is_written_over_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_bytes(b"half of a long one")
    with atomic_write(tmp_path / "a", is_shared=False) as file:
        file.write(b"all")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"all"}
