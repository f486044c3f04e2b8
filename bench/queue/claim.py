"""A lock on a file, held for moments, whose holder can be named.

The kernel frees it when its holder dies. A holder that lives and stands still (Ctrl-Z, a frozen
container, a debugger) may be anybody's process, so it is named and never killed.
"""

import fcntl
import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bench.core.errors import TemporaryError, UnwritableError

FILE = ".claim.lock"
CLAIM_SECONDS, POLL_SECONDS = 60.0, 0.02


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


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Only one process at a time has `path`.

    Raises:
        TemporaryError: another process has it and stands still; names that.
        UnwritableError: `path` cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab", buffering=0)
    except OSError as error:
        raise UnwritableError(path, error) from error
    with handle:
        since, seen = time.monotonic(), ""
        while not _try_lock(handle):
            if (said := path.read_text(encoding="utf-8", errors="replace")) != seen:
                since, seen = time.monotonic(), said
            elif time.monotonic() - since > CLAIM_SECONDS:
                holder = seen.partition("\n")[0] or "a process that did not name itself"
                raise standing_still(holder, path, CLAIM_SECONDS)
            time.sleep(POLL_SECONDS)
        with suppress(OSError):  # on a full disk a claim has no name
            handle.truncate(0)
            # The count tells one claim of a process from its next.
            handle.write(f"{this_process()}\n{time.monotonic_ns()}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                handle.truncate(0)


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
