"""Exceptions that end a command with one line of text instead of a traceback."""

import errno
from pathlib import Path

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room, no quota left, or a file as large as this process may make one."""

NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""No permission for this user, or a read-only file system."""


def first_line(error: BaseException) -> str:
    """The first line of the message of `error`; the name of its class if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def named(error: BaseException) -> str:
    """`first_line` after the name of the class: "ValueError: no such file"."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


class UserError(Exception):
    """A mistake in what the user asked for or supplied.

    The message is one line that states the rule, the value got and the way out. Commands print it
    on stderr and exit with status 2; any other exception is a bug and prints its traceback.
    Unprintable characters, which may come from a user's file, are escaped, so that the message
    stays one line and controls no terminal.
    """

    def __init__(self, message: str) -> None:
        escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in message)
        super().__init__("".join(escaped))


class ExhaustedError(UserError):
    """The machine has no disk space or memory left, or refuses a write.

    Not a failure of the run: its files are complete, and the same command resumes it once there is
    room. Such a run is recorded as stopped, not as failed.
    """


class UnwritableError(ExhaustedError):
    """The disk is full, or a file or folder cannot be written."""

    def __init__(self, path: Path, error: OSError, way_out: str | None = None) -> None:
        """`path` could not be written because of `error`; `way_out` says what the user can do."""
        if way_out is None:
            full = error.errno in DISK_IS_FULL
            way_out = "make room there" if full else "make it writable, or work in another folder,"
        super().__init__(
            f"{path} cannot be written ({error.strerror or error}); {way_out} and run the same "
            "command again: it goes on from what is there"
        )


class OutOfHostMemoryError(ExhaustedError):
    """The host has no memory left for this process; not about a GPU's memory."""

    def __init__(self, reason: BaseException | str) -> None:
        """`reason` is the error that memory ran out, or a phrase."""
        if isinstance(reason, BaseException):
            reason = named(reason)
        super().__init__(
            f"memory ran out ({reason}); take fewer --workers, or allow more (ulimit -v, the "
            "container's limit), and run the same command again: it goes on from what is there"
        )


class NoVerdictError(Exception):
    """The command completed, but its results allow no conclusion: every run diverged or failed, or
    one side of a planned comparison has no result. Commands print the message and exit with 1."""


class TemporaryError(Exception):
    """The command was stopped from outside; its results so far are stored, and the same command
    resumes. Commands exit with 75, after which supervisors start them again."""


class LeaseLostError(TemporaryError):
    """The lease on a run was lost to another worker; its folder must not be written any more."""
