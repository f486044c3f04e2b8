"""A run's folder: who the run is, what it was given, what it measured, how it ended.

    run.json  config.json  environment.json  git.diff        written when the run is opened
    metrics.jsonl  watch.jsonl                               appended to at each log point
    utterances-<split>.jsonl  summary.json                   written whole

A kill may tear the last line of an appended file; readers ignore it and a resumed run cuts it off.
A resumed run begins at a checkpoint older than its last log point: points that are already there
are not written again.
"""

import dataclasses
import json
import math
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any

from bench.core.errors import UserError
from bench.core.parsing import parse_json
from bench.core.paths import append_text, cut_torn_line, sync, write_json, write_text
from bench.scoring.score import UtteranceScore
from bench.training.progress import Progress

SCHEMA_VERSION = 1
STATES = ("running", "finished", "cut", "pruned", "diverged", "failed", "killed")
TRAINED = ("finished", "cut")
"""Trained as far as the budget goes, and scored: to the last epoch (or until nothing improved), or
until the cap on training seconds."""

RUN, CONFIG, ENVIRONMENT, DIFF = "run.json", "config.json", "environment.json", "git.diff"
ORIGINS = "origins.json"
"""What set each value of the config."""
METRICS, WATCH, SUMMARY = "metrics.jsonl", "watch.jsonl", "summary.json"

Keys = Mapping[str, type | UnionType]
"""What a reader counts on in an object of JSON: keys, and the types of their values."""

_SUMMARY_KEYS: Keys = {"state": str, "metrics": dict, "error": dict | None, "ended_at": str}
_RUN_KEYS: Keys = {
    "study": str, "variant": str, "kind": str, "slot": int, "attempt": int, "seed": int,
    "name": str, "params": dict, "data_digest": str, "uid": str, "started_at": str,
    "opened_at": str, "mlflow_run_id": str | None,
}  # fmt: skip
# What each line of a JSON-lines file has, those that matter to readers.
METRICS_SCHEMA: Keys = {
    "key": str, "value": int | float, "step": int, "epoch": int | float, "timestamp_ms": int
}  # fmt: skip
WATCH_SCHEMA: Keys = {
    "id": str, "step": int, "epoch": int | float, "ref": str, "hyp": str
}  # fmt: skip
SCORES_SCHEMA: Keys = {
    **dict.fromkeys(("id", "speaker", "ref", "hyp"), str),
    "seconds": int | float,
    **dict.fromkeys(("substitutions", "deletions", "insertions", "hits", "num_ref_words"), int),
    **dict.fromkeys(("char_substitutions", "char_deletions", "char_insertions"), int),
    "num_ref_chars": int,
}

NONFINITE = "num_nonfinite_values"
"""Our own curve: how many values so far were no finite number, and so are in no other curve."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What tells a run from the others of its study."""

    study: str
    variant: str
    kind: str
    """"trial", "confirm" or "train"."""
    slot: int
    attempt: int
    """1 for the first; higher when a worker died and the run was tried again."""
    seed: int
    params: Mapping[str, Any]
    """The searched settings, flat."""
    data_digest: str = ""

    @property
    def name(self) -> str:
        """What people read, such as ``ds-gru trial 3`` or ``ds-gru confirm seed 5002``."""
        which = f"trial {self.slot}" if self.kind == "trial" else f"{self.kind} seed {self.seed}"
        return f"{self.variant} {which}"


class RunRecord:
    """Writes a run's folder, one process at a time; after a kill it is opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last_step: dict[str, int] = {}
        self._last_watched: dict[str, int] = {}
        self._num_nonfinite = 0
        for point in read_lines(folder / METRICS, METRICS_SCHEMA):
            self._last_step[point["key"]] = point["step"]
            if point["key"] == NONFINITE:
                self._num_nonfinite = round(point["value"])
        for line in read_lines(folder / WATCH, WATCH_SCHEMA):
            self._last_watched[line["id"]] = line["step"]

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: RunIdentity,
        config: Mapping[str, Any],
        environment: Mapping[str, str],
        diff: str = "",
    ) -> "RunRecord":
        """Begin a run in `folder`, or go on with the one that is there.

        Raises:
            UserError: the folder was written by a newer version.
        """
        before = read_run(folder) if (folder / RUN).exists() else {}
        _cut_torn_line(folder / METRICS)
        _cut_torn_line(folder / WATCH)
        now = timestamp()
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
        rows = [json.dumps(dataclasses.asdict(s), ensure_ascii=False) + "\n" for s in scores]
        write_text(self.folder / f"utterances-{split}.jsonl", "".join(rows))

    def close(
        self, state: str, metrics: Mapping[str, float], error: Mapping[str, str] | None = None
    ) -> None:
        """Write how the run ended; of `metrics` the finite ones are kept."""
        assert state in STATES[1:], state
        summary = {
            "state": state,
            "metrics": {k: float(v) for k, v in metrics.items() if math.isfinite(v)},
            "error": error,
            "ended_at": timestamp(),
        }
        write_json(self.folder / SUMMARY, summary)


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json holds.

    Raises:
        UserError: it was written by a newer version, is damaged, or there is none.
    """
    run = read_json(folder / RUN)
    if run is None:
        raise UserError(f"{folder} holds no run, it has no {RUN}; name another folder")
    if not isinstance(run.get("schema_version"), int):
        raise _damaged(folder / RUN, "schema_version is no number")
    if run["schema_version"] > SCHEMA_VERSION:
        raise UserError(
            f"records up to version {SCHEMA_VERSION} can be read, {folder / RUN} has version "
            f"{run['schema_version']}; use the program that wrote it, or a newer one"
        )
    _check(folder / RUN, run, _RUN_KEYS)
    return run


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None if there is no such file.

    Raises:
        UserError: it is damaged.
    """
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(value, dict):
        raise _damaged(path, "it holds no JSON object")
    return value


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What summary.json holds; None while the run has not ended.

    Raises:
        UserError: it is damaged.
    """
    path = folder / SUMMARY
    summary = read_json(path)
    if summary is None:
        return None
    _check(path, summary, _SUMMARY_KEYS)
    _check(path, summary["metrics"], dict.fromkeys(summary["metrics"], int | float))
    if summary["state"] not in STATES:
        raise _damaged(path, f"state is {summary['state']!r}")
    return summary


def _check(path: Path, row: Mapping[str, Any], keys: Keys) -> None:
    for key, kind in keys.items():
        if key not in row or not isinstance(row[key], kind):
            raise _damaged(path, f"{key} is {row.get(key)!r}")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is damaged ({reason}); move the run's folder away, and the same command makes it "
        "again"
    )


def read_lines(path: Path, keys: Keys) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, none if it is missing; a torn last line is left out.

    Each must have `keys` with values of these types: METRICS_SCHEMA, WATCH_SCHEMA or SCORES_SCHEMA.

    Raises:
        UserError: a whole line that is no such object.
    """
    if not path.exists():
        return
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = parse_json(line)
            for key, kind in keys.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise ValueError(f"it has no {key}")
            yield row
        except ValueError as error:
            raise UserError(
                f"each line of {path} is a JSON object, line {number} is not ({error}); "
                "delete that line"
            ) from error


def timestamp() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def to_milliseconds(when: str) -> int:
    """A `timestamp` as MLflow wants it: milliseconds since 1970."""
    return round(datetime.fromisoformat(when).timestamp() * 1000)


def _append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    if text:
        append_text(path, text, durable=False)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b", buffering=0) as handle:
        cut_torn_line(handle)
