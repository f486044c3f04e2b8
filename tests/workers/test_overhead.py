"""What a sweep spends on anything but training and evaluation, when its trials take a minute."""

import json
import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from bench.core.paths import OUT
from bench.data.corpora import CorpusConfig, load_corpus
from bench.queue.storage import QueueStorage
from bench.runs import StudyTracker
from bench.runs.layout import METRICS, MetricPoint, read_lines
from bench.runs.run import datasets
from bench.study.definition import begin_or_return
from bench.study.space import load_budget
from bench.workers.engine import share_host
from bench.workers.launcher import Launcher
from tests.studies import study_of

TRIALS_PER_WORKER = 2
EPOCHS = 15
"""About a minute's work on a quiet machine; other work slows training and overhead alike."""


@pytest.mark.slow
def test_overhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints the table (pytest -m slow -s tests/workers/test_overhead.py); a quiet machine is what
    makes it mean something."""
    monkeypatch.chdir(tmp_path)
    corpus = CorpusConfig.parse("spoken")
    engine = share_host(None, "cpu")
    budget = replace(
        load_budget("record"),
        num_trials=TRIALS_PER_WORKER * engine.num_workers,
        search_epochs=EPOCHS,
        confirm_epochs=EPOCHS,
        num_seeds=engine.num_workers,
    )
    settings = {"model.width": 128}
    definition = study_of(["ds-gru"], budget, corpus=corpus, settings=settings)
    loaded = load_corpus(corpus)
    datasets(loaded, definition.base_config("ds-gru"), ())  # as bench.sweep, before any run
    definition = replace(definition, data_digest=loaded.digest)
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    parents = {"ds-gru": StudyTracker.open(definition.name).parent("ds-gru")}
    with closing(QueueStorage(None, folder, num_workers=engine.num_workers)) as storage:
        launcher = Launcher(
            folder,
            definition,
            storage,
            engine,
            storage_url=None,
            grace_seconds=60.0,
            parents=parents,
        )
        began = time.monotonic()
        launcher.run()
        wall = time.monotonic() - began
    runs = [read(path.parent) for path in folder.glob("runs/*/*/summary.json")]
    assert len(runs) == (TRIALS_PER_WORKER + 1) * engine.num_workers
    workers = wall * engine.num_workers
    work = {what: sum(getattr(run, what) for run in runs) for what in ("training", "evaluation", "checkpoints", "scoring")}  # fmt: skip
    inside = sum(run.ended - run.opened for run in runs)
    waiting = sum(waited(runs, kind, engine.num_workers) for kind in ("trial", "confirm"))
    rest = inside - sum(work.values())
    between = workers - inside - waiting
    mean = work["training"] / len(runs)
    print(f"\n{len(runs)} runs of {mean:.0f} s of training on {engine.num_workers} workers, {wall:.0f} s, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for what, seconds in {
        **work,
        "waiting for the last trial and the last confirm run": waiting,
        "the rest of a run: start, records, tracking, queue": rest,
        "between runs: processes, queue, tracking": between,
        "overhead, the two above": rest + between,
    }.items():
        print(f"{100 * seconds / workers:5.1f} %  {what}")
    assert work["training"] > 0


@dataclass(frozen=True)
class Run:
    """When a run was, and what it did meanwhile, in seconds."""

    kind: str
    opened: float
    ended: float
    training: float
    evaluation: float
    checkpoints: float
    scoring: float
    """Of the best checkpoint at the end."""


def read(folder: Path) -> Run:
    summary, run = (json.loads((folder / f"{name}.json").read_text()) for name in ("summary", "run"))  # fmt: skip
    metrics = summary["metrics"]
    trained = (
        max(point["timestamp_ms"] for point in read_lines(folder / METRICS, MetricPoint)) / 1000
    )
    scored = max(path.stat().st_mtime for path in folder.glob("utterances-*.jsonl"))
    return Run(
        kind=run["kind"],
        opened=datetime.fromisoformat(run["opened_at"]).timestamp(),
        ended=datetime.fromisoformat(summary["ended_at"]).timestamp(),
        training=metrics["train_seconds"],
        evaluation=metrics["evaluation_seconds"],
        checkpoints=metrics["checkpoint_seconds"],
        scoring=scored - trained,
    )


def waited(runs: list[Run], kind: str, num_workers: int) -> float:
    """By workers for whom nothing was left, until the last run of a kind ended: no overhead, and
    the less the more runs there are."""
    ends = sorted(run.ended for run in runs if run.kind == kind)
    return sum(ends[-1] - end for end in ends[-num_workers:])
