"""An exclusive claim on a run folder, held by one worker at a time, which others can see expire.

    lease.json   {host, pid, name, token, grace_seconds}     who
                 the kernel's lock on the file               alive, as this host sees it
                 the file's time of modification             alive, as other hosts see it

A thread of the holder touches the file six times per `grace_seconds`. Others take the holder for
gone when

- it ran on this host and the kernel has freed its lock: at once, however it died; or
- it ran on another host and the file has not been touched for `grace_seconds`, by the observer's
  own monotonic clock. The file's time is only compared with itself: clocks of machines differ.

A process of this host that is alive keeps its run even if it stands still, since it may be another
user's: it is named (`LeaseWatch.check_holder`) and never killed. A worker of another host that
wakes up after its run was given away finds another `token` in the file, and stops.

A lease protects the folder; `bench.queue.storage.LOCK` protects the decision who gets it. Taking
and breaking a lease happen under that lock, which is held for moments.
"""

import fcntl
import logging
import os
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
from bench.core.errors import LeaseLostError, UnwritableError, UserError
from bench.core.files import standing_still, this_process, write_json
from bench.core.parsing import parse_json

FILE = "lease.json"
GRACE_SECONDS = 60.0
TOUCHES_PER_GRACE = 6  # Five may be late or fail before others take the run.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease."""

    host: str
    pid: int
    name: str
    """For people: process, user and machine."""
    token: str
    """Differs from lease to lease."""
    grace_seconds: float


class Lease:
    """An exclusive claim on a run folder, held until released or until its heartbeat expires."""

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
        """A lease on the run in `folder`; the caller has the lock, and knows of no other lease.

        `on_loss` is called, from a thread, if the run is given to another worker.
        """
        holder = Holder(
            host=this_host(),
            pid=os.getpid(),
            name=this_process(),
            token=uuid.uuid4().hex,
            grace_seconds=grace_seconds,
        )
        path, new = folder / FILE, folder / f".{FILE}.{holder.token}"
        write_json(new, asdict(holder))
        # Writable, though only the lock is wanted: on NFS flock is a byte-range lock, which is
        # exclusive only on a handle that may write.
        handle = new.open("r+b")
        # Locked under a name that nobody looks for, then renamed. The lock belongs to the inode, so
        # no observer ever sees a lease.json whose holder lives and which is not locked.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.replace(path)
        lease = cls(path, holder, handle, on_loss)
        lease._thread.start()
        return lease

    def check(self) -> None:
        """Return if this process still holds the run.

        Raises:
            LeaseLostError: it is not.
        """
        if not self._is_ours():
            raise LeaseLostError(
                f"{self._path.parent} was given to another worker while this process gave no sign "
                "of life; nothing more is written there"
            )

    def release(self) -> None:
        """Give up the claim."""
        self._released.set()
        self._thread.join()
        # The file first, the lock last: whoever finds no lease.json may take the run at once, and
        # whoever finds one that is unlocked takes its holder for dead.
        #
        #     lease.json   there   there     gone
        #     lock         held    held      held -> freed
        #                  |       |         |
        #     others see   alive   alive     free
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
            # This process may have stood still for longer than the grace (a suspended laptop), and
            # another host may have taken the run. The token tells: the file's time does not, since
            # its new holder touches it too.
            try:
                if not self._is_ours():
                    self._on_loss()
                    return
                os.utime(self._path)  # needs no room on a full disk
            # A network file system fails for moments, in reading too. Without this thread others
            # would take the run, so it goes on, and tries again in a moment.
            except (OSError, UserError) as error:
                _logger.warning("%s cannot be read or touched (%s)", self._path, error)


class LeaseWatch:
    """What one process has seen of the leases of others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_seen: dict[Path, tuple[tuple[str, int], float]] = {}

    def is_held(self, folder: Path) -> bool:
        """Whether a worker that is not gone holds the run in `folder`.

        Raises:
            UserError: the lease is another user's, who keeps it from us.
        """
        found = _read(folder / FILE)
        if found is None:
            return False
        # Asked even of a holder on this host: `is_standing_still` needs to know since when.
        silent_seconds = self._silence(folder, *found)
        holder, _ = found
        # On this host the kernel knows who lives, at once and for certain. Of another host there is
        # only the heartbeat, and flock says nothing: a network file system may keep it per host.
        if holder.host == this_host():
            return not _is_unlocked(folder / FILE)
        return silent_seconds <= holder.grace_seconds

    def is_standing_still(self, folder: Path) -> bool:
        """Whether a process of this host holds the run in `folder`, lives, and has given no sign of
        life for as long as it allowed."""
        found = _read(folder / FILE)
        if found is None:
            return False
        holder, _ = found
        silent_seconds = self._silence(folder, *found)
        here = holder.host == this_host() and not _is_unlocked(folder / FILE)
        return here and silent_seconds > holder.grace_seconds

    def check_holder(self, folder: Path) -> None:
        """Return unless the holder of the run in `folder` stands still.

        Raises:
            TemporaryError: it does; names it.
        """
        found = _read(folder / FILE)
        if found is not None and self.is_standing_still(folder):
            holder, _ = found
            raise standing_still(holder.name, folder, holder.grace_seconds)

    def holder_of(self, folder: Path) -> str:
        """Who holds the run in `folder`, for people."""
        found = _read(folder / FILE)
        return "nobody" if found is None else found[0].name

    def take(
        self, folder: Path, *, grace_seconds: float, on_loss: Callable[[], None] = lambda: None
    ) -> Lease | None:
        """A lease on the run in `folder`, or None if it is held; the caller holds the lock."""
        if self.is_held(folder):
            return None
        self.break_(folder)
        return Lease.take(folder, grace_seconds=grace_seconds, on_loss=on_loss)

    def break_(self, folder: Path) -> None:
        """Take the run in `folder` from a holder that is gone.

        Raises:
            UnwritableError: the lease is another user's, who keeps it from us.
        """
        found = _read(folder / FILE)
        if found is None:
            return
        _logger.warning("%s: %s is gone", folder, found[0].name)
        try:
            (folder / FILE).unlink(missing_ok=True)
        except OSError as error:
            raise UnwritableError(folder / FILE, error) from error
        self._last_seen.pop(folder, None)

    def _silence(self, folder: Path, holder: Holder, touched: int) -> float:
        """Seconds since this process first saw this token and time of modification, which is all
        that it knows of the last heartbeat; 0 the first time it looks."""
        # Never `now - touched`, which would compare two machines' clocks. What counts is how long,
        # by our own clock, the file has said the same:
        #
        #     our clock       0 s      7 s      14 s     21 s
        #     seen in file    (a, 5)   (a, 9)   (a, 9)   (a, 9)
        #     silent for      0 s      0 s      7 s      14 s
        now, state = self._clock(), (holder.token, touched)
        before, since = self._last_seen.get(folder, (None, now))
        if state != before:
            self._last_seen[folder] = (state, now)
            return 0.0
        return now - since


def this_host() -> str:
    """The name of this machine, of its start and of its process numbers: two machines may have the
    same name, two containers share a host."""
    try:
        boot = BOOT_ID.read_text(encoding="ascii").strip()
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        boot, processes = "boot", "pid"
    return f"{socket.gethostname()} {boot} {processes}"


def _read(path: Path) -> tuple[Holder, int] | None:
    """The holder, and when the lease was touched last; None if there is no (readable) lease.

    Raises:
        UserError: the file is another user's, who keeps it from us.
    """
    try:
        with path.open("rb") as handle:
            return from_dict(Holder, parse_json(handle.read())), os.fstat(
                handle.fileno()
            ).st_mtime_ns
    except PermissionError as error:
        raise UserError(
            f"{path} must be readable for all who work in a folder, got {error.strerror}; work in "
            "another folder, or share this one (a common group, umask 002)"
        ) from error
    # A lease is renamed into place whole, so damaged content belongs to no living holder.
    except (FileNotFoundError, UserError, ValueError):
        return None


def _is_unlocked(path: Path) -> bool:
    """True if no living process of this host holds the lock on `path`."""
    try:
        with path.open("rb") as handle:
            # Shared, so that two observers who test at once do not take each other for the holder.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True
