"""Files that several processes share, and that outlive a kill, a full disk and a power cut.

exclusive_lock           one process at a time
atomic_write             a reader sees the old content or the new one, never a part
append_text              whole lines or nothing; the end of a file is on disk after `sync`
"""

import errno
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO

from bench.core.errors import TemporaryError, UnwritableError

LOCK_SECONDS, LOCK_POLL_SECONDS = 60.0, 0.02


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as JSON, as `atomic_write` does; errors as there."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` as `atomic_write` does; errors as there."""
    with atomic_write(path) as handle:
        handle.write(text.encode())


@contextmanager
def atomic_write(
    path: Path, *, is_shared: bool = True, keep_before: Path | None = None
) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends: flushed to disk, then renamed, so
    that a reader or a power cut sees the old content or the new one.

    Args:
        path: of the file; missing folders are made.
        is_shared: other processes may write `path` at the same time; the last one wins. Else the
            temporary file has one name, and what a killed process left is written over.
        keep_before: where the old content is kept; a rename, not a second write.

    Raises:
        UnwritableError: the disk is full, or the folder cannot be written; the old file stays.
    """
    if not path.name or path.is_dir():
        raise UnwritableError(
            path, IsADirectoryError(errno.EISDIR, "it is a folder"), "name a file"
        )
    mark = f".{os.getpid()}" if is_shared else ""
    temporary = path.with_name(f".{path.name}{mark}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            # The content before its name: a rename that reached the disk first would leave an empty
            # file after a power cut.
            os.fsync(handle.fileno())
        # Between the two renames `path` is missing; a reader then finds the old content there.
        if keep_before is not None and path.exists():
            path.replace(keep_before)
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C too, or its temporary file would stay for ever
        with suppress(OSError):  # its folder may not be one
            temporary.unlink()
        if isinstance(error, OSError):
            raise UnwritableError(path, error) from error
        raise


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
        # A raw write may take only a part (a disk that is nearly full): the rest is tried again,
        # and the next call raises.
        while left:
            left = left[handle.write(left) :]
        if durable:
            os.fsync(handle.fileno())
    except OSError:
        handle.truncate(end)
        raise


def truncate_incomplete_line(handle: FileIO) -> None:
    """Truncate an incomplete last line, left by a process that died while writing."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - 1))
    if handle.read(1) in (b"", b"\n"):
        return
    # Without any line's end rfind says -1, and nothing is left.
    handle.seek(0)
    handle.truncate(handle.read().rfind(b"\n") + 1)


@contextmanager
def exclusive_lock(
    path: Path,
    *,
    patience_seconds: float = LOCK_SECONDS,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the kernel's lock on the file `path`, which one process of this machine (and, on a
    network file system with locks, of all machines) can hold at a time.

    The kernel frees it when its holder dies, and the file stays. A holder that lives and stands
    still (Ctrl-Z, a frozen container, a debugger) may be anybody's process: it is named, never
    killed.

    Args:
        path: of the file; missing folders are made.
        patience_seconds: how long one holder may keep it; 0 does not wait, infinity waits for ever.
            Held for moments by many in turn it may take longer.
        on_wait: called once where the lock is held by another process.

    Raises:
        TemporaryError: a process holds it for longer; names that.
        UnwritableError: `path` cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # To append: opening must not erase the name of the present holder.
        handle = path.open("ab", buffering=0)
    except OSError as error:
        raise UnwritableError(path, error) from error
    with handle:
        if not _try_lock(handle):
            on_wait()
            _wait_for_lock(handle, path, patience_seconds)
        # The file's content names the holder for people; the lock itself is the kernel's.
        with suppress(OSError):  # on a full disk the holder has no name
            handle.truncate(0)
            # The clock tells one lock of a process from its next.
            handle.write(f"{this_process()}\n{time.monotonic_ns()}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                handle.truncate(0)


def _wait_for_lock(handle: IO[bytes], path: Path, patience_seconds: float) -> None:
    since, seen = time.monotonic(), ""
    while not _try_lock(handle):
        # Patience is for one holder. Another name, or another clock of the same process, is a new
        # holder: the queue moves, so waiting begins anew.
        if (said := path.read_text(encoding="utf-8", errors="replace")) != seen:
            since, seen = time.monotonic(), said
        if time.monotonic() - since >= patience_seconds:
            holder = seen.partition("\n")[0] or "a process that did not name itself"
            raise standing_still(holder, path, patience_seconds)
        time.sleep(LOCK_POLL_SECONDS)


def this_process() -> str:
    """What a person needs to find this process: its number, its user, its machine."""
    return f"process {os.getpid()} of {_user()} on {socket.gethostname()}"


def standing_still(holder: str, path: Path, seconds: float) -> TemporaryError:
    """That `holder` has `path` and has given no sign of life for `seconds`."""
    return TemporaryError(
        f"{path} is held by {holder}, which has given no sign of life for {seconds:.0f} s; let it "
        "go on (kill -CONT, or fg in its terminal) or end it, and run the same command again: it "
        "goes on from what is there"
    )


def _try_lock(handle: IO[bytes]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"user {os.getuid()}"
