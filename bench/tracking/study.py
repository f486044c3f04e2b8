"""A study in MLflow: its experiment, and per variant a parent and a summary run."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.tracking.cursor import is_behind
from bench.tracking.provenance import environment
from bench.tracking.reader import read_study
from bench.tracking.record import RUN
from bench.tracking.tracker import TrackingTarget
from bench.tracking.uri import display_uri, first_line, tracking_uri

if TYPE_CHECKING:
    from bench.tracking.store import MlflowStore

T = TypeVar("T")

NOTE_TAG = "mlflow.note.content"
"""What MLflow shows, as Markdown, for a run's description."""

_logger = logging.getLogger(__name__)


class StudyTracker:
    """What the launcher of a study tells MLflow. A server that does not answer costs a warning."""

    def __init__(self, study: str, uri: str, data_digest: str) -> None:
        self._study = study
        self._uri = uri
        self._data_digest = data_digest
        self._store: MlflowStore | None = None
        self._begun: set[str] = set()

    @classmethod
    def open(cls, study: str, *, data_digest: str = "") -> "StudyTracker":
        """Create what runs need (schema, experiment) before any worker starts.

        Raises:
            UserError: the tracking address names no store that can be opened.
        """
        tracker = cls(study, tracking_uri(), data_digest)
        tracker._try("experiment", lambda store: store.experiment(study))
        return tracker

    @property
    def tracking_uri(self) -> str:
        """The address, without a password."""
        return display_uri(self._uri)

    @property
    def target(self) -> TrackingTarget:
        """Where a run without a parent goes."""
        return TrackingTarget(uri=self._uri)

    def parent(self, variant: str) -> TrackingTarget:
        """Where runs of the sweep of `variant` go: below its parent, found again or made."""

        def begin(store: "MlflowStore") -> str:
            run_id = store.parent(self._study, variant)
            store.set_tags(run_id, self._tags(variant, "parent", "running"))
            store.client.update_run(run_id, status="RUNNING")
            return run_id

        self._begun.add(variant)
        return TrackingTarget(uri=self._uri, parent_run_id=self._try("parent run", begin))

    def summarise(
        self,
        variant: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        verdict: str,
        command: str,
        report: Path,
    ) -> None:
        """Close the sweep of `variant`: its summary run, its parent's description and report.

        Args:
            variant: one of the study.
            params: the flat config of the winner.
            metrics: `wer_mean` and the like become ``test/wer_mean``; only finite ones are sent.
            verdict: one sentence.
            command: repeats the study.
            report: the HTML file.
        """
        note = (
            f"**{verdict}**\n\nRedo: `{command}`\n\n"
            f"Report: `{report}`, also the artifact `{report.name}` of the parent run"
        )

        def send(store: "MlflowStore") -> None:
            tags = self._tags(variant, "summary", "finished")
            run = store.run_with_params(self._study, f"{variant} summary", tags, params)
            named = {_metric_name(key): value for key, value in metrics.items()}
            store.log_changed_metrics(run, named)
            runs = read_study(OUT / self._study).runs
            confirmed = runs[(runs["variant"] == variant) & (runs["kind"] == "confirm")]
            store.log_tables(run.info.run_id, {"confirm.json": confirmed.drop(columns="params")})
            store.end(run.info.run_id, {**tags, NOTE_TAG: note})
            parent = store.parent(self._study, variant)
            if report.exists():
                store.client.log_artifact(parent, str(report))
            store.end(parent, {**self._tags(variant, "parent", "finished"), NOTE_TAG: note})
            self._begun.discard(variant)

        self._try(f"summary of {variant}", send)

    def stop(self, state: str = "killed") -> None:
        """Say of the sweeps that were begun and not summarised: "killed" or "failed"."""

        def send(store: "MlflowStore") -> None:
            for variant in sorted(self._begun):
                run_id = store.parent(self._study, variant)
                store.end(run_id, {"state": state}, status=state.upper())

        self._try("end of the study", send)

    def _try(self, what: str, send: Callable[["MlflowStore"], T]) -> T | None:
        """The result of `send`; None, after a warning, if the server does not take it."""
        # Here, not at the top: commands that only read records need no mlflow.
        from bench.tracking.store import connect

        try:
            self._store = self._store or connect(self._uri)
            return send(self._store)
        except UserError:
            raise
        except Exception as error:
            _logger.warning(
                "tracking: %s not sent to %s (%s)", what, self.tracking_uri, first_line(error)
            )
            return None

    def _tags(self, variant: str, kind: str, state: str) -> dict[str, str]:
        facts = environment()
        return {
            "study": self._study,
            "variant": variant,
            "kind": kind,
            "state": state,
            "data_digest": self._data_digest,
            "git_commit": facts.get("git.commit", "unknown"),
            "host": facts["hostname"],
        }


def flush_unsent(folder: Path) -> int:
    """Send what MLflow lacks of the ended runs below `folder`; the number of runs still left.

    A warning, no exception, if the server does not take them.
    """
    uri = tracking_uri()
    behind = [run.parent for run in sorted(folder.rglob(RUN)) if is_behind(run.parent, uri)]
    if not behind:
        return 0
    from bench.tracking.mirror import mirror
    from bench.tracking.store import connect

    left, reason = len(behind), ""
    try:
        for run_folder in behind:
            # Asks the server each time: one that is gone ends the loop, one bad run does not.
            store = connect(uri)
            try:
                mirror(run_folder, store)
                left -= 1
            except Exception as error:
                reason = first_line(error)
    except Exception as error:
        reason = first_line(error)
    if left:
        _logger.warning(
            "tracking: %d runs not sent to %s (%s); the same command tries again",
            left,
            display_uri(uri),
            reason,
        )
    return left


def _metric_name(column: str) -> str:
    """Rates are of the test split, and so named that MLflow groups them with those of runs."""
    return f"test/{column}" if column.startswith(("wer_", "cer_")) else column
