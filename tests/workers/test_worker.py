"""What a worker finds already done, it does not do again."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from bench.core.errors import OutOfHostMemoryError
from bench.queue.slots import SlotQueue
from bench.queue.storage import QueueStorage
from bench.runs import TrackingTarget
from bench.runs.run import attempts_so_far
from bench.runs.state import RunEnd, State, has_ended
from bench.study.definition import StudyDefinition
from bench.study.space import load_budget
from bench.training.progress import Progress
from bench.workers import launcher as launchers
from bench.workers import worker
from bench.workers.engine import LocalEngine
from bench.workers.worker import Assignment, _LauncherLink, _TrialReport
from tests.studies import record_of, study_of, take, take_lease

STOP = SimpleNamespace(tell=lambda _: None)


@pytest.fixture
def definition() -> StudyDefinition:
    budget = replace(load_budget("smoke"), num_trials=2, num_seeds=1)
    return study_of(["ds-gru"], budget, seed=3, name="worker-test")


@pytest.fixture
def queue(tmp_path: Path, definition: StudyDefinition) -> SlotQueue:
    made = SlotQueue(definition, "ds-gru", tmp_path, QueueStorage(None, tmp_path, num_workers=2))
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("trained again")

    monkeypatch.setattr(worker, "execute_run", refuse)


def assignment(folder: Path, kind: str, slot: int | None) -> Assignment:
    return Assignment(
        folder=folder, system="ds-gru", kind=kind, slot=slot, storage_url=None, num_workers=2, num_threads=1,
        grace_seconds=60.0, target=TrackingTarget(uri="x"),
    )  # fmt: skip


def record(folder: Path, *, state: str, wer: float | None) -> bytes:
    opened = record_of(folder, study="worker-test", attempt=3)
    opened.close(state, {} if wer is None else {"best/valid/wer": wer})
    return (folder / "summary.json").read_bytes()


@pytest.mark.parametrize(
    "state, wer",
    [("finished", 0.4), ("cut", 0.4), ("pruned", 0.9), ("diverged", 0.1), ("failed", None)],
)
def test_a_trial_that_ended_before_the_queue_was_told_is_told_and_not_trained(
    tmp_path: Path, definition: StudyDefinition, queue: SlotQueue, state: str, wer: float | None
) -> None:
    """At its third attempt, too: it had ended, so it is not given up."""
    trial, lease = take(queue)
    folder = queue.folder_of("trial", 0)
    before = record(folder, state=state, wer=wer)
    lease.release()  # the worker dies here
    queue.give_back(trial.number)
    assert worker._work_on_trial(assignment(tmp_path, "trial", None), definition, queue, STOP)
    assert (folder / "summary.json").read_bytes() == before
    first = queue.slots()[0]
    assert (first.outcome, first.state.is_finished()) == (state, True)
    assert first.value == (wer if state in ("finished", "cut") else None)


@pytest.mark.parametrize("kind", ["trial", "confirm"])
def test_a_run_whose_worker_died_three_times_is_given_up_and_counts(
    tmp_path: Path, definition: StudyDefinition, queue: SlotQueue, kind: str
) -> None:
    trial, lease = take(queue)
    folder = queue.folder_of(kind, 0)
    record(folder, state="killed", wer=None)
    (folder / "summary.json").unlink()  # it died a third time
    lease.release()
    if kind == "trial":
        queue.give_back(trial.number)
        assert worker._work_on_trial(assignment(tmp_path, kind, None), definition, queue, STOP)
        assert (queue.slots()[0].outcome, queue.slots()[0].state) == ("failed", TrialState.FAIL)
    else:
        queue.end(trial, RunEnd(State.FINISHED, 0.4))
        assert worker._work_on_confirm(assignment(tmp_path, kind, 0), definition, queue, STOP)
    summary = json.loads((folder / "summary.json").read_text())
    died = {"kind": "crashed", "message": "its worker died 3 times"}
    assert (summary["state"], summary["error"]) == ("failed", died)


def test_a_confirm_run_that_another_launcher_did_meanwhile_is_not_done_again(
    tmp_path: Path, definition: StudyDefinition, queue: SlotQueue
) -> None:
    trial, lease = take(queue)
    queue.end(trial, RunEnd(State.FINISHED, 0.4))
    lease.release()
    folder = queue.folder_of("confirm", 0)
    before = record(folder, state="finished", wer=0.4)
    assert worker._work_on_confirm(assignment(tmp_path, "confirm", 0), definition, queue, STOP)
    assert (folder / "summary.json").read_bytes() == before
    assert not (folder / "lease.json").exists()


class NotAsked(_LauncherLink):
    def __init__(self) -> None:
        self._asked = False

    def tell(self, message: dict[str, Any]) -> None: ...


def evaluated(epoch: float, wer: float, *, is_last: bool = False) -> Progress:
    return Progress(
        step=round(10 * epoch), epoch=epoch, num_epochs=8, seconds=1.0,
        metrics={"valid/wer": wer}, evaluated=True, is_last=is_last,
    )  # fmt: skip


@pytest.mark.parametrize("epoch", [2, 2.5, 2.6])
def test_a_trial_that_the_cap_ends_is_not_pruned_for_it(
    queue: SlotQueue, monkeypatch: pytest.MonkeyPatch, epoch: float
) -> None:
    """Not even where the pruner would give it up; and an epoch that was not trained to its end is
    not compared with whole ones."""
    trial, lease = take(queue)
    monkeypatch.setattr(trial, "should_prune", lambda: True)
    report = _TrialReport(queue, trial, NotAsked())
    assert report(evaluated(1, 0.9)) == State.PRUNED, "the pruner is heard"
    assert report(evaluated(epoch, 0.9, is_last=True)) is None
    lease.release()
    frozen = trial.study.get_trials()[trial.number]
    assert set(frozen.intermediate_values) == ({1, 2} if epoch == 2 else {1})


def test_who_is_out_without_an_end_stops_at_the_next_report(queue: SlotQueue) -> None:
    """Its worker died when it had told its WER at the rung; the others have decided since."""
    taken = [queue.take(take_lease) for _ in range(2)]
    (out, _), (best, _) = (found for found in taken if found is not None)
    assert queue.judge(out, 2, 0.9) == State.PAUSED
    assert queue.judge(best, 2, 0.1) is None
    begun = replace(evaluated(2.5, 0.9), evaluated=False)
    assert _TrialReport(queue, out, NotAsked())(begun) == State.PRUNED
    assert _TrialReport(queue, best, NotAsked())(begun) is None
    for found in filter(None, taken):
        found[1].release()


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_a_worker_without_memory_says_so_and_leaves_its_slot(
    tmp_path: Path, definition: StudyDefinition, queue: SlotQueue,
    monkeypatch: pytest.MonkeyPatch, error: Exception,
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise error

    said: list[dict[str, object]] = []
    stop = SimpleNamespace(tell=said.append)
    monkeypatch.setattr(worker, "_LauncherLink", lambda _: stop)
    monkeypatch.setattr(worker, "_work_on_trial", refuse)
    monkeypatch.setattr(worker.definitions, "load", lambda _: definition)
    with pytest.raises(SystemExit) as end:
        worker.work(assignment(tmp_path, "trial", None), None)  # type: ignore[arg-type]
    assert end.value.code == worker.EXIT_START_AGAIN
    ((key, message),) = said[0].items()
    assert key == "exhausted"
    assert str(message).startswith("memory ran out (")
    assert [slot.state for slot in queue.slots()] == [TrialState.WAITING] * 2


@pytest.mark.parametrize(
    ("limit", "killed", "why"),
    [
        (4 << 30, 0, "its worker died, ulimit -v allows 4,194,304 kB"),
        (None, 1, "its worker died, the kernel killed it"),
    ],
)
def test_a_run_whose_worker_died_for_want_of_memory_keeps_its_attempts(
    tmp_path: Path, definition: StudyDefinition, queue: SlotQueue, monkeypatch: pytest.MonkeyPatch,
    limit: int | None, killed: int, why: str,
) -> None:  # fmt: skip
    folder = queue.folder_of("trial", 0)
    record(folder, state="killed", wer=None)
    (folder / "summary.json").unlink()  # as the death leaves it, at its third attempt
    monkeypatch.setattr(launchers, "address_space_limit", lambda: limit)
    with closing(QueueStorage(None, tmp_path, num_workers=1)) as storage:
        launcher = launchers.Launcher(
            tmp_path, definition, storage, LocalEngine(1, 1), storage_url=None, grace_seconds=60.0,
            parents={},
        )  # fmt: skip
    monkeypatch.setattr(launchers, "num_killed", lambda: launcher._num_killed + killed)
    dead = SimpleNamespace(exit_code=-9)
    running = launchers._Running(assignment(tmp_path, "trial", None), dead, 0, slot=0)  # type: ignore[arg-type]
    with pytest.raises(OutOfHostMemoryError, match=why):
        launcher._check_memory(running)
    assert attempts_so_far(folder) == 2
    assert not has_ended(folder)
    monkeypatch.undo()
    running.worker.exit_code = 0  # type: ignore[misc]
    launcher._check_memory(running)
