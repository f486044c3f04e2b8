"""The queue's journal file, which a full disk cannot tear.

Optuna appends to its journal and leaves there what went in before the disk was full. The next line
then joins that incomplete line, and the study can no longer be read.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock

from bench.core.errors import UnwritableError
from bench.core.files import append_whole, truncate_incomplete_line

LOCK_GRACE_SECONDS = 30
"""How long Optuna lets nothing be written before it takes a lock for one that a killed process
left."""


class WholeLinesBackend(BaseJournalBackend):
    """Optuna's journal file and its lock, with lines that are written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = JournalFileBackend(str(path))
        except OSError as error:
            raise UnwritableError(path, error) from error
        # Absolute: the lock is a link to the journal, and Optuna looks at the time of what it leads
        # to. A link that leads nowhere is never taken from a process that was killed with it.
        self._lock = JournalFileSymlinkLock(str(path.absolute()), LOCK_GRACE_SECONDS)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, object]]:
        """The entries from that number on; as Optuna reads them, without a torn last line."""
        return self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Add entries.

        Raises:
            UnwritableError: there is no room for all of them; then none is added.
        """
        # What a full disk leaves in Optuna's own file, and what the next append makes of it:
        #
        #     {"op_code":4,...}\n{"op_code":5,"va
        #     {"op_code":4,...}\n{"op_code":5,"va{"op_code":6,...}\n      no reader gets past this
        #
        # Here an incomplete line is cut off first, and lines that do not fit are taken back.
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        try:
            self._lock.acquire()
            try:
                with self._path.open("r+b", buffering=0) as handle:
                    truncate_incomplete_line(handle)
                    append_whole(handle, lines.encode())
            finally:
                self._lock.release()
        except OSError as error:
            raise UnwritableError(self._path, error) from error
