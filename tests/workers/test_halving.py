"""A search with rungs, trained: a trial that waited at its rungs is the trial that never did."""

import json
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.paths import OUT
from bench.data.utterance import Corpus
from bench.queue.lease import LeaseWatch
from bench.queue.slots import SlotQueue, is_over
from bench.queue.storage import QueueStorage
from bench.results.progress import ProgressReader
from bench.runs import TrackingTarget
from bench.runs.layout import METRICS, MetricPoint, read_lines
from bench.runs.mlflow import tracker
from bench.runs.state import State, read_state
from bench.study.definition import StudyDefinition, begin_or_return
from bench.study.space import load_budget
from bench.workers import worker
from bench.workers.worker import Assignment, _LauncherLink
from tests.workers.test_launcher import tone_study

CLOCKS = ("train/seconds", "train/audio_seconds_per_second")


class Link(_LauncherLink):
    """A launcher that asks to stop after so many reports."""

    def __init__(self, reports_left: int = 10**6) -> None:
        self.said: dict[str, Any] = {}
        self._left = reports_left

    def tell(self, message: dict[str, Any]) -> None:
        self.said |= message
        self._left -= "epoch" in message

    def __bool__(self) -> bool:
        return self._left <= 0


@pytest.fixture
def study(tmp_path: Path, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> StudyDefinition:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracker, "mirror", lambda *_: None)
    monkeypatch.setattr(logging, "FileHandler", lambda _: logging.NullHandler())
    monkeypatch.setattr(logging.root, "handlers", [])  # a worker has its process for itself
    budget = replace(load_budget("smoke"), num_trials=4, search_epochs=4, warmup_epochs=1)
    assert budget.rungs == (1, 2)
    return tone_study(tmp_path, tone_corpus, budget, "halving")


def queue_of(definition: StudyDefinition, storage: QueueStorage) -> SlotQueue:
    return SlotQueue(definition, "ds-gru", OUT / definition.name, storage)


def assigned(folder: Path) -> Assignment:
    return Assignment(
        folder=folder, system="ds-gru", kind="trial", slot=None, storage_url=None, num_workers=1,
        num_threads=1, grace_seconds=60.0, target=TrackingTarget(uri="x"),
    )  # fmt: skip


def trained(definition: StudyDefinition, *, stop_after: int = 10**6) -> Path:
    """The folder of the trials of a whole search, by workers that are asked to stop after so many
    reports each."""
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    with closing(QueueStorage(None, folder, num_workers=1)) as storage:
        queue = queue_of(definition, storage)
        queue.prepare()
        for _ in range(60):
            worker._work_on_trial(assigned(folder), definition, queue, Link(stop_after))
            queue.reclaim(LeaseWatch())
            if is_over(queue.slots()):
                return folder / "runs" / "ds-gru"
    raise AssertionError("the search does not end")


def curves(folder: Path) -> dict[tuple[str, int], float]:
    points = list(read_lines(folder / METRICS, MetricPoint))
    found = {(p["key"], p["step"]): p["value"] for p in points if p["key"] not in CLOCKS}
    assert len(found) == sum(p["key"] not in CLOCKS for p in points), "a point is there twice"
    return found


def summary(folder: Path) -> Mapping[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text())["metrics"])


@pytest.mark.parametrize("stop_after", [10**6, 5])
def test_a_trial_that_waited_at_its_rungs_is_bit_equal_to_one_that_never_did(
    study: StudyDefinition, stop_after: int
) -> None:
    """Its learning rate is that of its whole length; epochs and seconds are counted once. The same
    if every worker is stopped on its way."""
    found = trained(study, stop_after=stop_after)
    trials = sorted(found.iterdir())
    ends = {trial.name: read_state(trial) for trial in trials}
    assert sorted(ends.values()) == [State.FINISHED] + [State.PRUNED] * 3
    assert sorted(summary(trial)["num_epochs"] for trial in trials) == [1, 1, 2, 4]
    whole = trained(replace(study, name="whole", budget=replace(study.budget, pruner="none")))
    for trial in trials:
        through, alone = curves(trial), curves(whole / trial.name)
        last = max(step for _, step in through)
        assert through == {key: value for key, value in alone.items() if key[1] <= last}
        assert json.loads((trial / "run.json").read_text())["attempt"] == 1
        told = summary(trial)
        assert 0 < told["train_seconds"] < 60
        if ends[trial.name] == State.FINISHED:
            for name in ("best.pt", "last.pt"):
                one, other = (
                    torch.load(f / "checkpoints" / name, weights_only=True)["model"]
                    for f in (trial, whole / trial.name)
                )
                assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_trial_that_waits_is_shown_as_paused(study: StudyDefinition) -> None:
    folder = OUT / study.name
    begin_or_return(folder, study)
    link = Link(1)  # asked to stop at the very step: it waits all the same, and goes no further
    with closing(QueueStorage(None, folder, num_workers=1)) as storage:
        queue = queue_of(study, storage)
        queue.prepare()
        assert worker._work_on_trial(assigned(folder), study, queue, link)
    assert link.said["rung"] == 1
    first = ProgressReader(folder).read().runs[0]
    assert (first.state, first.epoch, first.has_ended) == (State.PAUSED, 1.0, False)
