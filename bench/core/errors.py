"""The exceptions that are the user's to mend."""

import errno
from pathlib import Path

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room, no quota left, or a file as large as this process may make one."""


class UserError(Exception):
    """A mistake in what the user asked for or supplied.

    The message is one line that states the rule, the value got and the way out. Commands print it
    on stderr and exit with status 2; every other exception is a bug and keeps its traceback. What a
    stranger's file brought into it is escaped, so that it stays one line and moves no cursor.
    """

    def __init__(self, message: str) -> None:
        escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in message)
        super().__init__("".join(escaped))


class UnwritableError(UserError):
    """The disk is full, or a folder cannot be written.

    No fault of the run that met it: what is on disk already is whole, and the same command goes on
    from there once there is room. So such a run is stopped, never recorded as failed.
    """

    def __init__(self, path: Path, error: OSError, way_out: str = "make room there") -> None:
        """`path` could not be written, for the reason in `error`."""
        super().__init__(
            f"{path} cannot be written ({error.strerror or error}); {way_out} and run the same "
            "command again: it goes on from what is there"
        )


class NoVerdictError(Exception):
    """The command did all that was asked, and what came out says nothing of what was to be found
    out: every run diverged or failed, or one side of a planned comparison has no result. Commands
    print the message and exit with 1."""


class TemporaryError(Exception):
    """Stopped through no fault of the user's or ours: what is done is kept, and the same command
    goes on from there. Commands exit with 75, which supervisors take for "start me again"."""
