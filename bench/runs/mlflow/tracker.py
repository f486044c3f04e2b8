"""What a training process calls: a record that is also copied to MLflow while it grows."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.masking import mask
from bench.runs.mlflow.mirror import mirror
from bench.runs.mlflow.uri import display_uri, first_line, set_mlflow_defaults
from bench.runs.provenance import environment, git_diff
from bench.runs.record import RunIdentity, RunRecord
from bench.runs.state import State

SEND_EVERY_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 80.0
CLOSE_SECONDS, CLOSE_SECONDS_IF_DOWN = 60.0, 5.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrackingTarget:
    """Where a run's copy goes; plain values, so that it crosses to another process."""

    uri: str = field(repr=False)
    """May hold a password."""
    parent_run_id: str | None = None
    """None if there is none, or if the server could not be asked: then it is looked for later."""


class Tracker:
    """A run's record, and a thread that copies it.

    Training never waits for the server and never dies with it: the thread reads the record's files,
    and what it cannot send stays there for `flush_unsent`. Nothing that MLflow raises leaves this
    class.
    """

    def __init__(self, record: RunRecord, target: TrackingTarget) -> None:
        self.record = record
        """Takes what is logged; the end goes through `close`."""
        self._target = target
        self._closing = threading.Event()
        self._is_down = False
        # A daemon: a server that hangs must not keep a process alive that has done its work.
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: RunIdentity,
        config: Mapping[str, object],
        target: TrackingTarget,
        facts: Mapping[str, str] | None = None,
    ) -> "Tracker":
        """Begin the run in `folder`, or go on with it; `config` is nested plain values, `facts` are
        of its devices and join those of its environment.

        Raises:
            UserError: the folder was written by a newer version.
        """
        set_mlflow_defaults()
        found = environment() | dict(facts or {})
        record = RunRecord.open(folder, identity, config, found, git_diff())
        return cls(record, target)

    def close(
        self,
        state: State,
        metrics: Mapping[str, float] | None = None,
        *,
        error_kind: str | None = None,
        error_message: str | None = None,
    ) -> None:
        """Record how the run ended, and wait within limits until that is sent; the last call."""
        error = None
        if error_kind is not None:
            error = {"kind": error_kind, "message": mask(error_message or "")}
        self.record.close(state, metrics or {}, error)
        self._closing.set()
        self._thread.join(CLOSE_SECONDS_IF_DOWN if self._is_down else CLOSE_SECONDS)

    def _send(self) -> None:
        """The thread: copy now, then every few seconds, then once after the end."""
        store, pause = None, 0.0
        while True:
            # Waits, or wakes up at once for the last copy when the run closes.
            is_last = self._closing.wait(pause)
            try:
                # Here, not at the top: training goes on while mlflow is imported.
                from bench.runs.mlflow.store import connect

                store = store or connect(self._target.uri)
                mirror(self.record.folder, store, self._target.parent_run_id)
                self._say_up()
                pause = SEND_EVERY_SECONDS
            except Exception as error:
                self._say_down(error)
                pause = min(2 * max(pause, SEND_EVERY_SECONDS), LONGEST_PAUSE_SECONDS)
            if is_last:
                return

    def _say_down(self, error: Exception) -> None:
        if not self._is_down:
            _logger.warning(
                "MLflow at %s is unreachable (%s); records stay in %s and are uploaded later",
                display_uri(self._target.uri),
                first_line(error),
                self.record.folder,
            )
            _logger.debug("tracking", exc_info=True)
        self._is_down = True

    def _say_up(self) -> None:
        if self._is_down:
            _logger.info("MLflow at %s is reachable again", display_uri(self._target.uri))
        self._is_down = False
