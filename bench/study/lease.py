"""Who works on a run: one worker at a time, and how the others see that it is gone.

The holder's name lies in ``lease.json`` in the run's folder, and a thread touches that file every
few seconds. Others take the holder for gone when

- it ran on this host and the kernel has freed its lock on the file, so at once; or
- the file has not been touched for as long as the holder allowed, by the observer's own monotonic
  clock (the clocks of two machines are never compared): its host is gone, or it is frozen. A frozen
  process on this host is killed before its run is given to another.

A worker that wakes up after its run was given away finds another lease there, and stops.
"""

import fcntl
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.core.parsing import parse_json
from bench.core.paths import write_json

FILE = "lease.json"
GRACE_SECONDS = 60.0
TOUCHES_PER_GRACE = 6
KILL_SECONDS = 10.0

_logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The run was given to another worker: nothing may be written to its folder any more."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease."""

    host: str
    pid: int
    token: str
    """Differs from lease to lease."""
    grace_seconds: float


class Lease:
    """A run that is ours until we release it, or until others take us for gone."""

    def __init__(
        self, path: Path, holder: Holder, handle: IO[bytes], on_loss: Callable[[], None]
    ) -> None:
        self._path = path
        self._holder = holder
        self._handle = handle
        self._on_loss = on_loss
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._touch, name="lease", daemon=True)

    @classmethod
    def take(
        cls, folder: Path, *, grace_seconds: float, on_loss: Callable[[], None] = lambda: None
    ) -> Self:
        """A lease on the run in `folder`, which nobody holds; the caller has seen to that.

        `on_loss` is called, from a thread, if the run is given to another worker.
        """
        holder = Holder(
            host=this_host(), pid=os.getpid(), token=uuid.uuid4().hex, grace_seconds=grace_seconds
        )
        path, new = folder / FILE, folder / f".{FILE}.{holder.token}"
        write_json(new, asdict(holder))
        handle = new.open("r+b")
        # Locked before it can be seen; the lock stays with the file when the name changes.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.replace(path)
        lease = cls(path, holder, handle, on_loss)
        lease._thread.start()
        return lease

    def check(self) -> None:
        """Return if the run is still ours.

        Raises:
            LeaseLostError: it is not.
        """
        if not self._is_ours():
            raise LeaseLostError(f"{self._path.parent} was given to another worker")

    def release(self) -> None:
        """Let others have the run."""
        self._released.set()
        self._thread.join()
        if self._is_ours():
            self._path.unlink(missing_ok=True)
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _is_ours(self) -> bool:
        found = _read(self._path)
        return found is not None and found[0].token == self._holder.token

    def _touch(self) -> None:
        while not self._released.wait(self._holder.grace_seconds / TOUCHES_PER_GRACE):
            if not self._is_ours():
                self._on_loss()
                return
            try:
                os.utime(self._path)  # needs no room on a full disk
            except OSError as error:
                _logger.warning("%s cannot be touched (%s)", self._path, error)


class LeaseWatch:
    """What one process has seen of the leases of others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_seen: dict[Path, tuple[tuple[str, int], float]] = {}

    def is_held(self, folder: Path) -> bool:
        """Whether a worker that is not gone holds the run in `folder`."""
        found = _read(folder / FILE)
        if found is None:
            return False
        holder, touched = found
        if holder.host == this_host() and _is_unlocked(folder / FILE):
            return False
        now, state = self._clock(), (holder.token, touched)
        before, since = self._last_seen.get(folder, (None, now))
        if state != before:
            self._last_seen[folder] = (state, now)
            return True
        return now - since <= holder.grace_seconds

    def break_(self, folder: Path) -> None:
        """Take the run in `folder` from a holder that is gone; one frozen on this host is
        killed."""
        found = _read(folder / FILE)
        if found is None:
            return
        holder, _ = found
        if holder.host == this_host():
            _kill(holder.pid, folder / FILE)
        _logger.warning("%s: its worker on %s is gone", folder, holder.host.split()[0])
        (folder / FILE).unlink(missing_ok=True)
        self._last_seen.pop(folder, None)


def this_host() -> str:
    """The name of this machine, and of its process numbers: two containers may share a host."""
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        processes = "pid"
    return f"{socket.gethostname()} {processes}"


def _read(path: Path) -> tuple[Holder, int] | None:
    """The holder, and when the lease was touched last; None if there is no (readable) lease."""
    try:
        with path.open("rb") as handle:
            return from_dict(Holder, parse_json(handle.read())), os.fstat(
                handle.fileno()
            ).st_mtime_ns
    except (FileNotFoundError, UserError, ValueError):
        return None


def _is_unlocked(path: Path) -> bool:
    """True if no living process of this host holds the lock on `path`."""
    try:
        with path.open("rb") as handle:
            # Shared: those who ask do not get into each other's way.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _kill(pid: int, path: Path) -> None:
    """Kill the process that holds the lock on `path`; as long as it is held, `pid` is that
    process's."""
    deadline = time.monotonic() + KILL_SECONDS
    while not _is_unlocked(path) and time.monotonic() < deadline:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # gone just now, or another user's: it finds its lease lost
        time.sleep(0.02)
