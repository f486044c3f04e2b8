"""The exceptions that are the user's to mend."""

import errno
from pathlib import Path

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room, no quota left, or a file as large as this process may make one."""

NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""This user may not write there, or nobody may."""


class UserError(Exception):
    """A mistake in what the user asked for or supplied.

    The message is one line that states the rule, the value got and the way out. Commands print it
    on stderr and exit with status 2; every other exception is a bug and keeps its traceback. What a
    stranger's file brought into it is escaped, so that it stays one line and moves no cursor.
    """

    def __init__(self, message: str) -> None:
        escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in message)
        super().__init__("".join(escaped))


class ExhaustedError(UserError):
    """The machine ran out of disk or memory, or does not let us write.

    No fault of the run that met it: what is on disk already is whole, and the same command goes on
    from there once there is room. So such a run is stopped, never recorded as failed.
    """


class UnwritableError(ExhaustedError):
    """The disk is full, or a file or folder cannot be written."""

    def __init__(self, path: Path, error: OSError, way_out: str | None = None) -> None:
        """`path` could not be written, for the reason in `error`."""
        if way_out is None:
            full = error.errno in DISK_IS_FULL
            way_out = "make room there" if full else "make it writable, or work in another folder,"
        super().__init__(
            f"{path} cannot be written ({error.strerror or error}); {way_out} and run the same "
            "command again: it goes on from what is there"
        )


class OutOfHostMemoryError(ExhaustedError):
    """There is no memory left for this process; a GPU's memory is another matter."""

    def __init__(self, reason: BaseException | str) -> None:
        """`reason` is the error that says so, or a phrase."""
        if isinstance(reason, BaseException):
            said = next(iter(str(reason).splitlines()), "")
            reason = f"{type(reason).__name__}: {said}" if said else type(reason).__name__
        super().__init__(
            f"memory ran out ({reason}); take fewer --workers, or allow more (ulimit -v, the "
            "container's limit), and run the same command again: it goes on from what is there"
        )


class NoVerdictError(Exception):
    """The command did all that was asked, and what came out says nothing of what was to be found
    out: every run diverged or failed, or one side of a planned comparison has no result. Commands
    print the message and exit with 1."""


class TemporaryError(Exception):
    """Stopped through no fault of the user's or ours: what is done is kept, and the same command
    goes on from there. Commands exit with 75, which supervisors take for "start me again"."""


class LeaseLostError(TemporaryError):
    """The run was given to another worker: nothing may be written to its folder any more."""
