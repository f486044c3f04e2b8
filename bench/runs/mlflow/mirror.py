"""From a run's folder to MLflow. Does not import mlflow: the store that it is given has.

`mirror` may be called at any time, by the process that trains and by any later one, as often as
one likes: it sends what is missing. Points carry the time they were measured at, and MLflow takes a
point with the same name, step, time and value once; artifacts and tags are replaced. So the copy
holds each thing once, wherever a kill interrupts the sending.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.core.config import flatten, from_dict
from bench.core.files import exclusive_lock, write_json
from bench.data.corpora.spec import CorpusConfig
from bench.data.utterance import task_digest
from bench.runs.layout import (
    BEST,
    CONFIG,
    DIFF,
    ENVIRONMENT,
    METRICS,
    ORIGINS,
    PATHS,
    RUN,
    SUMMARY,
    UNITS,
    VARIANT_FILES,
    WATCH,
    MetricPoint,
    RunFile,
    ScoreLine,
    Summary,
    WatchLine,
    read_json,
    read_lines,
    read_run,
)
from bench.runs.mlflow.descriptions import NOTE_TAG, describe_run
from bench.runs.mlflow.pages import PARENT_TAG, Point, metric_name
from bench.runs.mlflow.uri import display_uri
from bench.runs.record import to_milliseconds
from bench.runs.state import STOPPED, TRAINED, read_summary
from reports.columns import word_errors

if TYPE_CHECKING:
    from bench.runs.mlflow.store import MlflowStore

STATUS = {
    "finished": "FINISHED",
    "cut": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "paused": "SCHEDULED",
}
"""MLflow has no status for a run that was cut or pruned or diverged: the tag `state` tells."""

READS = {
    "train": ("train",),
    "trial": ("train", "valid"),
    "confirm": ("train", "valid", "test"),
}
"""The splits that a run of each kind needs."""
LOCK, CURSOR = ".sending.lock", "sent.json"
NUM_DECODES = 20
SAMPLED_SPLIT = "valid"
"""Its decodes are shown as a table: every run that trains to its end scores it, trials too."""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How much of a run the store at `uri` has: sent.json in the run's folder.

    Derived, and safe to lose: a kill between sending and saving means that a part is sent again.

        metrics.jsonl   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇░░░░
                        └── metrics_bytes ───┘└ the thread sends this next
    """

    uri: str
    """As shown, without a password. Another store has nothing of the run yet."""
    opened: str = ""
    """`opened_at` of the newest opening that was sent."""
    metrics_bytes: int = 0
    """Length of the part of metrics.jsonl that was sent; ends at the end of a line."""
    closed: str = ""
    """`ended_at` of the newest end that was sent completely."""

    @classmethod
    def load(cls, folder: Path, uri: str) -> "Cursor":
        """The cursor of the run in `folder` for the store at `uri`.

        Raises:
            UserError: its file is damaged.
        """
        saved = read_json(folder / CURSOR) or {}
        shown = display_uri(uri)
        return from_dict(cls, saved) if saved.get("uri") == shown else cls(uri=shown)

    def save(self, folder: Path) -> None:
        """Replace the cursor in `folder`."""
        write_json(folder / CURSOR, dataclasses.asdict(self))


def store_of(study: Path) -> str:
    """The store, as shown, that has the runs of the study in this folder, or most of them; the one
    in use if none of them has been sent."""
    sent = (read_json(path) or {} for path in study.glob(f"runs/*/*/{CURSOR}"))
    counted = Counter(str(cursor["uri"]) for cursor in sent if "uri" in cursor)
    return counted.most_common(1)[0][0] if counted else display_uri()


def is_behind(folder: Path, uri: str) -> bool:
    """Whether the run in `folder` has ended and the store at `uri` does not know all of it."""
    summary = read_summary(folder)
    return summary is not None and Cursor.load(folder, uri).closed != summary["ended_at"]


def mirror(folder: Path, store: "MlflowStore", parent_run_id: str | None = None) -> None:
    """Bring `store` up to what `folder` says.

    `parent_run_id` spares looking for the parent of a trial or confirm run.

    Raises:
        TemporaryError: another process has been sending this run for a minute.
        Exception: of many types; the store does not take it.
    """
    # A worker that ends and a launcher that joins may send at once: both would make the run.
    with exclusive_lock(folder / LOCK):
        _mirror(folder, store, parent_run_id)


def _mirror(folder: Path, store: "MlflowStore", parent_run_id: str | None) -> None:
    # Opening, curves, end; of each the cursor is saved after it was sent, never before. What a kill
    # makes it send twice, the store takes once.
    run = read_run(folder)
    cursor = Cursor.load(folder, store.uri)
    if cursor.opened != run["opened_at"]:
        cursor = _send_opening(folder, run, cursor, store, parent_run_id)
        run = read_run(folder)
    run_id = run["mlflow_run_id"]
    assert run_id is not None, "opening has written it"
    cursor = _send_metrics(folder, run_id, cursor, store)
    summary = read_summary(folder)
    if summary is not None and cursor.closed != summary["ended_at"]:
        _send_end(folder, run, run_id, summary, store)
        replace(cursor, closed=summary["ended_at"]).save(folder)


def _send_opening(
    folder: Path,
    run: RunFile,
    cursor: Cursor,
    store: "MlflowStore",
    parent_run_id: str | None,
) -> Cursor:
    """Make the run, or set it running again if the store has it."""
    experiment = store.experiment(run["study"])
    tags = _tags(folder, run)
    if run["kind"] != "train":
        tags[PARENT_TAG] = parent_run_id or store.parent(run["study"], run["system"])
    copy = store.find_run(experiment, {"uid": run["uid"]})
    if copy is None:
        started = to_milliseconds(run["started_at"])
        copy = store.create_run(experiment, run["name"], tags, started)
    else:
        store.set_tags(copy.info.run_id, tags)
        store.client.update_run(copy.info.run_id, status="RUNNING")
    run_id = copy.info.run_id
    config = read_json(folder / CONFIG) or {}
    store.log_params(copy, flatten(config))
    if "corpus" in config and (digest := run["data_digest"]):
        corpus = from_dict(CorpusConfig, config["corpus"])
        # Of joined corpora the first alone is chosen and tested on.
        sources = {split: (corpus.name, task_digest(digest)) for split in READS[run["kind"]]}
        store.log_datasets(run_id, sources | {"train": (corpus.title, digest)})
    _send_files(folder, (CONFIG, ORIGINS, ENVIRONMENT, DIFF, *VARIANT_FILES), run_id, store)
    if run_id != run["mlflow_run_id"]:
        # This store did not have the run: all points are missing.
        cursor = replace(cursor, metrics_bytes=0)
        write_json(folder / RUN, {**run, "mlflow_run_id": run_id})
    # Saved before any point is sent. Killed between the calls above and here, the next call does
    # them again, and finds the run by its uid instead of making a second one.
    cursor = replace(cursor, opened=run["opened_at"])
    cursor.save(folder)
    return cursor


def _send_metrics(folder: Path, run_id: str, cursor: Cursor, store: "MlflowStore") -> Cursor:
    path = folder / METRICS
    if not path.exists():
        return cursor
    with path.open("rb") as handle:
        handle.seek(cursor.metrics_bytes)
        # Training appends while this thread reads: what stands behind the last line's end is not
        # complete yet, and is sent next time.
        whole = handle.read().rpartition(b"\n")[0]
    if not whole:
        return cursor
    points: Iterable[MetricPoint] = map(json.loads, whole.splitlines())
    store.log_metrics(
        run_id,
        (Point(metric_name(p["key"]), p["value"], p["timestamp_ms"], p["step"]) for p in points),
    )
    cursor = replace(cursor, metrics_bytes=cursor.metrics_bytes + len(whole) + 1)
    cursor.save(folder)
    return cursor


def _send_end(
    folder: Path, run: RunFile, run_id: str, summary: Summary, store: "MlflowStore"
) -> None:
    """Send how the run ended, status first: it shall be true even if artifacts cannot be stored."""
    ended = to_milliseconds(summary["ended_at"])
    state, error = summary["state"], summary["error"] or {}
    tags = {"state": state, NOTE_TAG: describe_run(run, summary)}
    paths = read_json(folder / PATHS) or {}
    tags |= {f"path.{operation}": str(path) for operation, path in paths.items()}
    store.set_tags(run_id, tags | {f"error.{k}": v for k, v in error.items()})
    if state not in STOPPED:  # it may go on: its final values are not known yet
        finals = summary["metrics"].items()
        store.log_metrics(run_id, [Point(metric_name(k), v, ended) for k, v in finals])
    store.client.set_terminated(run_id, STATUS[state], end_time=ended)
    scored = [path.name for path in sorted(folder.glob("utterances-*.jsonl"))]
    _send_files(folder, (SUMMARY, PATHS, UNITS, WATCH, "run.log", *scored), run_id, store)
    store.log_tables(run_id, tables(folder))
    best = folder / BEST
    # Those of trials stay where they are: a study has many, and only winners are used again.
    if run["kind"] != "trial" and state in TRAINED and best.exists():
        store.client.log_artifact(run_id, str(best), "checkpoints")


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """What MLflow shows as tables, by file name: decodes, of the same utterances in every run of a
    study, and the watch transcripts.

    Its page that sets runs side by side groups by the first column and compares the second.
    """
    made = {}
    scores = pd.DataFrame(list(read_lines(folder / f"utterances-{SAMPLED_SPLIT}.jsonl", ScoreLine)))
    if not scores.empty:
        step = -(-len(scores) // NUM_DECODES)  # rounded up: at most NUM_DECODES rows
        sample = scores.sort_values("id", kind="stable").iloc[::step]
        shown = sample.assign(
            utterance=sample["id"] + ": " + sample["ref"],
            wer=(word_errors(sample) / sample["num_ref_words"]).round(4),
        )
        made["decodes.json"] = shown[["utterance", "hyp", "wer", "id", "speaker", "seconds", "ref"]]
    watched = pd.DataFrame(list(read_lines(folder / WATCH, WatchLine)))
    if not watched.empty:
        epochs = watched["epoch"].map("{:g}".format)
        moments = watched["id"] + ", epoch " + epochs + ": " + watched["ref"]
        shown = watched.assign(moment=moments)
        made["watch.json"] = shown[["moment", "hyp", "id", "epoch", "step", "ref"]]
    return made


def _send_files(folder: Path, names: tuple[str, ...], run_id: str, store: "MlflowStore") -> None:
    for name in names:
        if (folder / name).exists():
            store.client.log_artifact(run_id, str(folder / name))


def _tags(folder: Path, run: RunFile) -> dict[str, object]:
    environment = read_json(folder / ENVIRONMENT) or {}
    declared = read_json(folder / VARIANT_FILES[1]) or {}
    named = {
        "study", "system", "kind", "slot", "attempt", "seed", "data_digest", "host", "uid",
        "num_ranks",
    }  # fmt: skip
    return {
        **{key: value for key, value in run.items() if key in named},
        **({"round": run["round"]} if run["round"] else {}),
        "state": "running",
        NOTE_TAG: describe_run(run, None),
        "git_commit": environment.get("git.commit", "unknown"),
        **{f"variant.{key}": declared[key] for key in ("path", "digest") if key in declared},
    }
