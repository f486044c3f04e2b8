"""Forty slots, several workers, several launchers: each slot once, nobody idle."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import Trial, TrialState

from bench.core.cores import num_cores
from bench.core.errors import TemporaryError
from bench.core.paths import OUT
from bench.data.corpora import CorpusConfig, load_corpus
from bench.data.utterance import Corpus
from bench.queue import lease as leases
from bench.queue.journal import WholeLinesBackend
from bench.queue.lease import Lease
from bench.queue.slots import SlotQueue
from bench.queue.storage import QueueStorage
from bench.runs import StudyTracker, TrackingTarget
from bench.runs.state import RunEnd, State
from bench.study.definition import StudyDefinition, begin_or_return
from bench.study.space import Budget, load_budget
from bench.workers import launcher as launchers
from bench.workers.engine import LocalEngine
from bench.workers.launcher import POLL_SECONDS, Launcher
from tests.postgresql import PostgreSQL
from tests.studies import study_of
from tests.tones import write_table

NUM_SLOTS = 40
SETTINGS = {"model.width": 16, "model.convs": [[16, 11, 3]]}


def tone_study(folder: Path, tones: Corpus, budget: Budget, name: str) -> StudyDefinition:
    """A study of one small network on `tones`, whose table is written into `folder`."""
    corpus = CorpusConfig.parse(write_table(tones, folder / "tones.jsonl"))
    made = study_of(["ds-gru"], budget, corpus=corpus, settings=SETTINGS, name=name)
    return replace(made, data_digest=load_corpus(corpus).digest)


@pytest.fixture
def definition(tmp_path: Path, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> StudyDefinition:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    budget = replace(
        load_budget("smoke"), num_trials=NUM_SLOTS, search_epochs=4, num_seeds=1, pruner="none"
    )
    return tone_study(tmp_path, tone_corpus, budget, "forty")


@pytest.fixture(params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "journal":
        yield None
        return
    with PostgreSQL() as server:
        yield server.url


def launch(definition: StudyDefinition, url: str | None, num_workers: int) -> None:
    """What bench.sweep does between its preparations and its report."""
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    parents = {"ds-gru": StudyTracker.open(definition.name).parent("ds-gru")}
    with closing(QueueStorage(url, folder, num_workers=num_workers)) as storage:
        Launcher(
            folder,
            definition,
            storage,
            LocalEngine(num_workers, 1),
            storage_url=url,
            grace_seconds=10.0,
            parents=parents,
        ).run()


def slots_of(definition: StudyDefinition, url: str | None) -> list[TrialState]:
    folder = OUT / definition.name
    with closing(QueueStorage(url, folder, num_workers=1)) as storage:
        return [slot.state for slot in SlotQueue(definition, "ds-gru", folder, storage).slots()]


def spans(definition: StudyDefinition) -> list[tuple[float, float]]:
    """When each trial was begun and when it ended, in seconds."""
    found = []
    for folder in (OUT / definition.name / "runs" / "ds-gru").glob("trial-*"):
        run, summary = (json.loads((folder / f"{n}.json").read_text()) for n in ("run", "summary"))
        assert (run["attempt"], summary["state"] in ("finished", "pruned")) == (1, True)
        times = (run["started_at"], summary["ended_at"])
        found.append(tuple(datetime.fromisoformat(t).timestamp() for t in times))
    return sorted(found)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Timing:
    """How the trials of a sweep lay in time, in seconds."""

    wall: float
    busy: float
    """Workers at a time inside a run, while trials ran."""
    idle: float
    """Share of the workers' time without a run while slots waited."""
    longest_gap: float
    """Between the end of a trial and the next begin of one, while slots waited."""


def timing(done: list[tuple[float, float]], wall: float, num_workers: int) -> Timing:
    first, last_start, last = done[0][0], done[-1][0], max(end for _, end in done)
    inside = sum(min(end, last_start) - start for start, end in done)
    starts = [start for start, _ in done]
    ends = sorted(end for _, end in done)[: len(done) - num_workers]
    # The k-th end makes room for the trial that begins as number num_workers + k.
    gaps = [start - end for start, end in zip(starts[num_workers:], ends, strict=True)]
    return Timing(
        wall=wall,
        busy=sum(end - start for start, end in done) / (last - first),
        idle=1 - inside / (num_workers * (last_start - first)),
        longest_gap=max(gaps),
    )


def test_idle_time_is_that_without_a_run_while_slots_wait() -> None:
    done = [(0.0, 2.0), (0.0, 3.0), (2.5, 4.0), (3.0, 9.0)]  # two workers, four slots
    expected = Timing(wall=9.0, busy=12.5 / 9, idle=1 - 5.5 / 6, longest_gap=0.5)
    assert timing(done, 9.0, 2) == expected


@pytest.mark.slow
def test_forty_slots_are_run_once_each(definition: StudyDefinition, url: str | None) -> None:
    """Prints the table: pytest -m slow -s tests/workers/test_launcher.py -k forty."""
    found = {}
    for num_workers in (1, 4):
        named = replace(definition, name=f"forty-{num_workers}")
        began = time.monotonic()
        launch(named, url, num_workers)
        wall = time.monotonic() - began
        assert slots_of(named, url) == [TrialState.COMPLETE] * NUM_SLOTS
        done = spans(named)
        assert len(done) == NUM_SLOTS
        found[num_workers] = timing(done, wall, num_workers)
    cores = num_cores()
    expected = {1: found[1].wall, 4: found[1].wall / min(4, cores)}
    print(f"\n{'journal' if url is None else 'postgresql'}, {cores} cores, {NUM_SLOTS} slots")
    for num_workers, at in found.items():
        print(
            f"  {num_workers} workers: {at.wall:.0f} s (expected {expected[num_workers]:.0f}), "
            f"{at.busy:.2f} inside a run at a time, while slots waited {100 * at.idle:.1f} % idle, "
            f"{at.longest_gap:.2f} s at most from an end to the next begin"
        )


def test_a_launcher_looks_whether_it_shall_stop(
    definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For where a library has swallowed what the signal raised."""
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    target = TrackingTarget(uri="http://127.0.0.1:9")
    engine = LocalEngine(1, 1)
    monkeypatch.setattr(engine, "start", lambda _: pytest.fail("began a trial"))

    def check_stop() -> None:
        raise TemporaryError("stopped by SIGTERM")

    with closing(QueueStorage(None, folder, num_workers=1)) as storage:
        launcher = Launcher(
            folder,
            definition,
            storage,
            engine,
            storage_url=None,
            grace_seconds=10.0,
            parents={"ds-gru": target},
        )
        with pytest.raises(TemporaryError, match="SIGTERM"):
            launcher.run(check_stop)


@pytest.mark.slow
def test_eight_launchers_begin_at_the_same_moment(
    definition: StudyDefinition, url: str | None
) -> None:
    few = replace(definition, budget=replace(definition.budget, num_trials=8))
    context = get_context("spawn")
    launchers = [context.Process(target=launch, args=(few, url, 1)) for _ in range(8)]
    for process in launchers:
        process.start()
    for process in launchers:
        process.join(300)
    assert [process.exitcode for process in launchers] == [0] * 8
    assert len(slots_of(few, url)) == 8
    assert len(spans(few)) == 8


class _Sleeper:
    """A worker that says nothing and goes on until it is told to stop."""

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def messages(self) -> list[dict[str, object]]:
        return []

    def stop(self) -> None:
        self.exit_code = 75

    kill = end_frozen = stop

    def close(self) -> None:
        """It holds nothing."""


class _Engine:
    """Sleepers, and a clock that goes on by a tick each time the launcher waits for them."""

    num_workers, num_threads, num_ranks = 2, 1, 1

    def __init__(self, seconds_a_wait: float) -> None:
        self.now = 0.0
        self._seconds_a_wait = seconds_a_wait

    def start(self, assignment: object) -> _Sleeper:
        return _Sleeper()

    def wait(self, workers: object, seconds: float) -> None:
        self.now += self._seconds_a_wait

    def close(self) -> None:
        """It holds nothing."""


@pytest.mark.parametrize("seconds_a_wait", [POLL_SECONDS, POLL_SECONDS / 8])
def test_a_study_is_read_once_a_tick_and_system(
    definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch, seconds_a_wait: float
) -> None:
    """A wait ends early when workers say something, as a hundred of them always do."""
    systems = dict.fromkeys(("ds-gru", "other"), definition.systems["ds-gru"])
    spaces = dict.fromkeys(systems, definition.spaces["ds-gru"])
    few = replace(definition.budget, num_trials=4)
    both = replace(definition, systems=systems, spaces=spaces, budget=few)
    folder, engine = OUT / both.name, _Engine(seconds_a_wait)
    begin_or_return(folder, both)
    clock = SimpleNamespace(monotonic=lambda: engine.now, sleep=time.sleep)
    monkeypatch.setattr(launchers, "time", clock)
    reads: list[float] = []

    def check_stop() -> None:
        if engine.now > 10.05 * POLL_SECONDS:
            raise TemporaryError("stopped")

    with closing(QueueStorage(None, folder, num_workers=2)) as storage:
        target = TrackingTarget(uri="http://127.0.0.1:9")
        launcher = Launcher(
            folder,
            both,
            storage,
            engine,
            storage_url=None,
            grace_seconds=10.0,
            parents=dict.fromkeys(systems, target),
        )
        read_logs = WholeLinesBackend.read_logs

        def counted(backend: WholeLinesBackend, first: int) -> Any:
            if engine.now > 0:
                reads.append(engine.now)
            return read_logs(backend, first)

        monkeypatch.setattr(WholeLinesBackend, "read_logs", counted)
        with pytest.raises(TemporaryError, match="stopped"):
            launcher.run(check_stop)
    assert len(reads) == 10 * len(systems)


def test_a_worker_of_ours_that_stands_still_is_ended_and_one_of_others_is_named(
    definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another launcher's worker has slot 0, ours slot 1; both stand still. Ours is ended, its slot
    run by the next worker; what is left then is held by who must not be killed."""
    few = replace(definition, budget=replace(definition.budget, num_trials=2))
    folder, engine = OUT / few.name, _Engine(0.02)
    begin_or_return(folder, few)
    monkeypatch.setattr(leases, "TOUCHES_PER_GRACE", 1e-9)
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(engine, "wait", lambda workers, seconds: time.sleep(0.02))
    with closing(QueueStorage(None, folder, num_workers=2)) as storage:
        queue = SlotQueue(few, "ds-gru", folder, storage)
        queue.prepare()

        def take() -> tuple[Trial, Lease]:
            taken = queue.take(partial(Lease.take, grace_seconds=0.01))
            assert taken is not None
            return taken

        _, theirs = take()
        begun: list[_Sleeper] = []

        def start(assignment: object) -> _Sleeper:
            trial, lease = take()
            worker = _Sleeper()
            begun.append(worker)
            monkeypatch.setattr(
                worker, "messages", lambda: [{"slot": trial.user_attrs["slot"], "is_new": True}]
            )
            if len(begun) == 1:

                def die() -> None:
                    worker.exit_code = -9
                    lease.release()  # as the kernel frees the lock of a process that was killed

                monkeypatch.setattr(worker, "end_frozen", die, raising=False)
            else:
                queue.end(trial, RunEnd(State.FAILED, None))
                lease.release()
                worker.exit_code = 0
            return worker

        monkeypatch.setattr(engine, "start", start)
        launcher = Launcher(
            folder,
            few,
            storage,
            engine,
            storage_url=None,
            grace_seconds=10.0,
            parents={"ds-gru": TrackingTarget(uri="http://127.0.0.1:9")},
        )
        with pytest.raises(TemporaryError, match=rf"trial-000 is held by process {os.getpid()} of"):
            launcher.run()
        theirs.check()
        assert [slot.state for slot in queue.slots()] == [TrialState.RUNNING, TrialState.FAIL]
    theirs.release()
    assert [worker.exit_code for worker in begun] == [-9, 0]
    assert "ds-gru trial 1: its worker stands still; ended" in caplog.text
    assert f"trial-000 waits for process {os.getpid()} of" in caplog.text
