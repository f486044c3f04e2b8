"""Writing of a run's folder: its inputs, its measurements, its end.

`bench.runs.layout` lists the files. A resumed run truncates an incomplete last line, left by a kill
while writing. It starts at a checkpoint older than its last log point, so points that the files
already hold are not written again:

    metrics.jsonl   step 10  20  30  40 | killed at 43
    last.pt                       30    | resumed here: 40 is computed again, and not logged again
"""

import dataclasses
import json
import math
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.core.files import append_text, sync, truncate_incomplete_line, write_json, write_text
from bench.runs.layout import (
    CONFIG,
    DIFF,
    ENVIRONMENT,
    METRICS,
    RUN,
    SCHEMA_VERSION,
    SUMMARY,
    WATCH,
    MetricPoint,
    WatchLine,
    read_lines,
    read_run,
)
from bench.runs.state import (
    RunEnd,
    State,
    check_transition,
    read_end,
    read_state,
    read_summary,
)
from bench.scoring.score import UtteranceScore
from bench.training.progress import Progress

NONFINITE = "num_nonfinite_values"
"""A curve of its own: the number of non-finite values so far, which the other curves omit."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The identity of a run within its study."""

    study: str
    system: str
    kind: str
    """"trial", "confirm" or "train"."""
    slot: int
    attempt: int
    """1 for the first; higher when a worker died and the run was tried again."""
    seed: int
    params: Mapping[str, object]
    """The searched settings, flat."""
    data_digest: str = ""
    round: int = 0
    """Of a confirm run in a study with planned looks, from 1; else 0."""
    num_ranks: int = 1
    """Processes that divide each batch, on a GPU each: its seconds are those of so many."""

    @property
    def name(self) -> str:
        """The displayed name, such as ``ds-gru trial 3``, ``ds-gru confirm 2`` or, of a single run,
        ``ds-gru seed 7``."""
        # In a study by slot, as its folder and the report: a derived seed has ten digits, too long
        # for a column and for the eye.
        which = f"seed {self.seed}" if self.kind == "train" else f"{self.kind} {self.slot}"
        return f"{self.system} {which}"


class RunRecord:
    """Writes a run's folder, one process at a time; after a kill it is opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last_step: dict[str, int] = {}
        self._last_watched: dict[str, int] = {}
        self._num_nonfinite = 0
        for point in read_lines(folder / METRICS, MetricPoint):
            self._last_step[point["key"]] = point["step"]
            if point["key"] == NONFINITE:
                self._num_nonfinite = round(point["value"])
        for line in read_lines(folder / WATCH, WatchLine):
            self._last_watched[line["id"]] = line["step"]

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: RunIdentity,
        config: Mapping[str, object],
        environment: Mapping[str, str],
        diff: str = "",
    ) -> "RunRecord":
        """Begin a run in `folder`, or go on with the one that is there.

        Raises:
            UserError: the folder was written by a newer version.
            IllegalTransitionError: the run has ended, and is one of a study.
        """
        is_single = identity.kind == "train"
        check_transition(read_state(folder), State.RUNNING, is_single=is_single)
        before: Mapping[str, object] = read_run(folder) if (folder / RUN).exists() else {}
        _truncate_incomplete_line(folder / METRICS)
        _truncate_incomplete_line(folder / WATCH)
        now = timestamp()
        # Of the run, not of the attempt: the first opening decides, and MLflow's run is found
        # again.
        fixed = {
            "uid": uuid.uuid4().hex,
            "mlflow_run_id": None,
            "started_at": now,
        }
        run = {
            "schema_version": SCHEMA_VERSION,
            "name": identity.name,
            **dataclasses.asdict(identity),
            **{key: before.get(key, value) for key, value in fixed.items()},
            "opened_at": now,
            "host": socket.gethostname(),
        }
        write_json(folder / CONFIG, config)
        write_json(folder / ENVIRONMENT, environment)
        if diff:
            write_text(folder / DIFF, diff)
        write_json(folder / RUN, run)
        # An older end of this run (killed) is not how this attempt ended.
        (folder / SUMMARY).unlink(missing_ok=True)
        return cls(folder)

    def append(self, progress: Progress) -> None:
        """Log a point of each metric and the watch transcripts, unless logged before a resume.

        Raises:
            UnwritableError: the disk is full; no half point is left.
        """
        values = dict(progress.metrics)
        if values:
            values["train/seconds"] = progress.seconds
        # A resumed run repeats the steps since its checkpoint; what they log is there already.
        new = {k: float(v) for k, v in values.items() if progress.step > self._last_step.get(k, -1)}
        finite = {k: v for k, v in new.items() if math.isfinite(v)}
        if len(finite) < len(new) and progress.step > self._last_step.get(NONFINITE, -1):
            self._num_nonfinite += len(new) - len(finite)
            finite[NONFINITE] = float(self._num_nonfinite)
        at = {"step": progress.step, "epoch": progress.epoch}
        now_ms = to_milliseconds(timestamp())
        self._last_step.update(dict.fromkeys(finite, progress.step))
        _append_lines(
            self.folder / METRICS,
            ({"key": k, "value": v, **at, "timestamp_ms": now_ms} for k, v in finite.items()),
        )
        heard = [t for t in progress.watch if progress.step > self._last_watched.get(t.id, -1)]
        self._last_watched.update(dict.fromkeys((t.id for t in heard), progress.step))
        _append_lines(
            self.folder / WATCH,
            ({**at, "id": t.id, "ref": t.ref, "hyp": t.hyp} for t in heard),
        )

    def sync(self) -> None:
        """Return once all that was logged would outlive a power cut. Without this a checkpoint
        could be newer than the end of the curves, and leave a gap there.

        Raises:
            UnwritableError: the disk refuses.
        """
        for name in (METRICS, WATCH):
            sync(self.folder / name)

    def write_scores(self, split: str, scores: Iterable[UtteranceScore]) -> None:
        """Keep one row an utterance, replacing what an earlier attempt wrote."""
        write_scores(self.folder / f"utterances-{split}.jsonl", scores)

    def close(
        self, state: State, metrics: Mapping[str, float], error: Mapping[str, str] | None = None
    ) -> None:
        """Write how the run ended; of `metrics` the finite ones are kept.

        Raises:
            IllegalTransitionError: the run is not running.
        """
        check_transition(read_state(self.folder), state)
        summary = {
            "state": state,
            "metrics": {k: float(v) for k, v in metrics.items() if math.isfinite(v)},
            "error": error,
            "ended_at": timestamp(),
        }
        write_json(self.folder / SUMMARY, summary)


def end_paused(folder: Path) -> RunEnd:
    """Give up the paused run in `folder`: it ends with what it had measured when it paused. No
    process has the run, and the caller sees to it that none begins with it.

    Raises:
        UserError: the record is damaged.
        IllegalTransitionError: the run is not paused.
    """
    summary = read_summary(folder)
    metrics = {} if summary is None else summary["metrics"]
    RunRecord(folder).close(State.PRUNED, metrics)
    end = read_end(folder)
    assert end is not None, "just written"
    return end


def write_scores(path: Path, scores: Iterable[UtteranceScore]) -> None:
    """Replace `path` by one row an utterance."""
    rows = (json.dumps(dataclasses.asdict(s), ensure_ascii=False) + "\n" for s in scores)
    write_text(path, "".join(rows))


def timestamp() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def to_milliseconds(when: str) -> int:
    """A `timestamp` as MLflow wants it: milliseconds since 1970."""
    return round(datetime.fromisoformat(when).timestamp() * 1000)


def _append_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    if text:
        append_text(path, text, durable=False)


def _truncate_incomplete_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b", buffering=0) as handle:
        truncate_incomplete_line(handle)
