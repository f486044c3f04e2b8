"""What a sweep spends on anything but training and evaluation, when its trials take a minute."""

import json
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from bench.core.paths import OUT
from bench.data.corpora import CorpusConfig, load_corpus
from bench.study.definition import begin_or_return, define
from bench.study.engine import share_host
from bench.study.launcher import Launcher
from bench.study.space import load_budget
from bench.study.storage import QueueStorage
from bench.tracking import StudyTracker

TRIALS_PER_WORKER = 2


@pytest.mark.slow
def test_overhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints the table; a quiet machine is what makes it mean something."""
    monkeypatch.chdir(tmp_path)
    corpus = CorpusConfig.parse("spoken")
    engine = share_host(None, "cpu")
    budget = replace(
        load_budget("record"),
        num_trials=TRIALS_PER_WORKER * engine.num_workers,
        search_epochs=6,
        confirm_epochs=6,
        num_seeds=engine.num_workers,
    )
    settings = {"model.width": 128}
    definition = define(["ds-gru"], corpus, budget, seed=0, device="cpu", settings=settings)
    definition = replace(definition, data_digest=load_corpus(corpus).digest)
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
    runs = [path.parent for path in folder.glob("runs/*/*/summary.json")]
    assert len(runs) == (TRIALS_PER_WORKER + 1) * engine.num_workers
    trained = evaluated = inside = 0.0
    for run in runs:
        summary = json.loads((run / "summary.json").read_text())
        opened = json.loads((run / "run.json").read_text())["opened_at"]
        trained += summary["metrics"]["train_seconds"]
        evaluated += summary["metrics"]["evaluation_seconds"]
        ended = datetime.fromisoformat(summary["ended_at"])
        inside += (ended - datetime.fromisoformat(opened)).total_seconds()
    all_workers = wall * engine.num_workers
    print(f"\n{len(runs)} runs of {trained / len(runs):.0f} s of training on {engine.num_workers} workers, {wall:.0f} s")  # fmt: skip
    for what, seconds in {
        "training": trained,
        "evaluation": evaluated,
        "the rest of a run: start, records, tracking, queue, scoring": inside - trained - evaluated,
        "between runs: processes, queue, waiting for the last": all_workers - inside,
    }.items():
        print(f"{100 * seconds / all_workers:5.1f} %  {what}")
    assert trained > 0
