"""Where things are kept on disk."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.core.errors import UnwritableError, UserError
from bench.core.parsing import decode_text

OUT = Path("out")
"""Studies, runs and reports, below the working folder."""

SINGLE_RUNS = OUT / "train"
"""Runs that belong to no study."""

CACHE_VARIABLE = "BENCH_CACHE"


def cache_root() -> Path:
    """The absolute path of the folder of what can be made again (corpora, features):
    ``$BENCH_CACHE``, else ``~/.cache/deepspeech-bench``.

    Raises:
        UserError: none is named, and the user has no home.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return user_path(given, CACHE_VARIABLE).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or user_path("~/.cache", CACHE_VARIABLE)
    return Path(base).absolute() / "deepspeech-bench"


def user_path(given: str, what: str) -> Path:
    """The path that a user wrote, its ``~`` expanded; `what` names the flag or variable.

    Raises:
        UserError: the home that it names is unknown.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{what}: the home folder of {given!r} is unknown (HOME is not set, or no such user is "
            f"there); set {what if what.isupper() else 'HOME'} to a whole path"
        ) from error


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, made if it is not there.

    Raises:
        UnwritableError: it cannot be made; names the variable.
    """
    folder = cache_root().joinpath(*parts)
    with writing_cache(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Within, what is written lies below `folder` of the cache.

    Raises:
        UnwritableError: something could not be written; names the variable.
    """
    try:
        yield
    except TimeoutError:  # another process has the lock
        raise
    except (OSError, UnwritableError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(reason, OSError)
        way_out = f"set {CACHE_VARIABLE} to a folder with room that you may write"
        raise UnwritableError(folder, reason, way_out) from reason


@contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """Within, no other process of this machine is: by a lock below the cache.

    Raises:
        UnwritableError: the lock's file cannot be written; names the variable.
    """
    path = cache_folder("locks") / f"{name}.lock"
    lock = FileLock(path)
    with writing_cache(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def read_text(path: Path, what: str) -> str:
    """The text of a user's file, also gzipped; `what` says in errors what it is, such as
    "transcripts".

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return decode_text(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{what} {path} cannot be read ({error.strerror}); correct that first"
        ) from error
    except ValueError as error:
        raise UserError(f"{what} {path} cannot be read: {error}") from error


def exists(path: Path) -> bool:
    """True if there is something at `path`; False too where no file system could hold such a name,
    for which Path.exists raises an error."""
    try:
        return path.exists()
    except OSError:
        return False


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON so that a reader sees the old file or the new one, never a half.

    Raises:
        UnwritableError: as `write_text`.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically: a temporary file beside `path`, flushed to disk, then renamed.

    Raises:
        UnwritableError: the disk is full, or the folder cannot be written; the old file stays.
    """
    if not path.name or path.is_dir():
        raise UnwritableError(
            path, IsADirectoryError(errno.EISDIR, "it is a folder"), "name a file"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UnwritableError(path, error) from error


def append_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Add `text`, whole lines, to `path`; where there is no room for all of it, nothing is added.

    Unless `durable`, a power cut may take it back until `sync` has been called.

    Raises:
        UnwritableError: the disk is full, or the file cannot be written.
    """
    try:
        path.touch()
        # Unbuffered: what did not go in must not be tried again when the file is closed.
        with path.open("r+b", buffering=0) as handle:
            append_whole(handle, text.encode(), durable=durable)
    except OSError as error:
        raise UnwritableError(path, error) from error


def sync(path: Path) -> None:
    """Return once what was added to `path` is on disk; without such a file, at once.

    Raises:
        UnwritableError: the disk refuses.
    """
    try:
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnwritableError(path, error) from error


def append_whole(handle: FileIO, data: bytes, *, durable: bool = True) -> None:
    """Write `data` at the end of an unbuffered file that nobody else appends to meanwhile.

    If `durable` it is on disk when this returns; after an OSError the file ends where it ended
    before.
    """
    end = handle.seek(0, os.SEEK_END)
    left = memoryview(data)
    try:
        while left:
            left = left[handle.write(left) :]
        if durable:
            os.fsync(handle.fileno())
    except OSError:
        handle.truncate(end)
        raise


def cut_torn_line(handle: FileIO) -> None:
    """Cut off what stands behind the last line's end: a process died while it wrote that."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - 1))
    if handle.read(1) in (b"", b"\n"):
        return
    handle.seek(0)
    handle.truncate(handle.read().rfind(b"\n") + 1)
