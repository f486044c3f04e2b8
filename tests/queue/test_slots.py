"""Slots are run exactly once, whatever happens to the workers."""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from bench.queue.lease import LeaseWatch
from bench.queue.slots import Slot, SlotQueue, best_slot, is_over
from bench.queue.storage import QueueStorage
from bench.runs.state import RunEnd, State
from bench.study.definition import StudyDefinition
from bench.study.space import load_budget
from tests.studies import study_of, take, take_lease

VARIANT = "ds-gru"
NUM_WORKERS = 100


@pytest.fixture
def definition() -> StudyDefinition:
    budget = replace(load_budget("smoke"), num_trials=6)
    return study_of([VARIANT], budget, seed=3, name="queue-test")


def queue_in(folder: Path, definition: StudyDefinition) -> SlotQueue:
    storage = QueueStorage(None, folder, num_workers=2)
    return SlotQueue(definition, VARIANT, folder, storage)


@pytest.fixture
def queue(tmp_path: Path, definition: StudyDefinition) -> SlotQueue:
    made = queue_in(tmp_path, definition)
    made.prepare()
    return made


def test_slots_are_enqueued_once_and_the_first_is_the_default(
    queue: SlotQueue, definition: StudyDefinition
) -> None:
    queue.prepare()
    assert [slot.number for slot in queue.slots()] == list(range(6))
    trial, lease = take(queue)
    expected = {k: d.default for k, d in definition.searched(VARIANT).items()}
    assert trial.params == expected
    assert trial.study.metric_names == ["valid WER (1 is 100 %)"], "as optuna-dashboard shows it"
    lease.release()


def test_each_end_is_copied_to_the_storage(queue: SlotQueue) -> None:
    for outcome, value in [("finished", 0.4), ("finished", 0.3), ("pruned", 0.1), ("diverged", None), ("failed", None)]:  # fmt: skip
        trial, lease = take(queue)
        if outcome == "pruned":
            trial.report(0.1, 1)
        queue.end(trial, RunEnd(State(outcome), value))
        lease.release()
    slots = queue.slots()
    assert [slot.outcome for slot in slots] == ["finished", "finished", "pruned", "diverged", "failed", None]  # fmt: skip
    assert [slot.value for slot in slots[:3]] == [0.4, 0.3, 0.1]
    assert not is_over(slots)
    best = best_slot(slots)
    assert best is not None
    assert best.number == 1, "a pruned trial never wins"


def test_a_pruned_trial_wins_where_those_that_went_on_are_lost() -> None:
    def slot(number: int, state: TrialState, outcome: str, value: float, **rungs: float) -> Slot:
        wers = {int(rung[1:]): wer for rung, wer in rungs.items()}
        return Slot(number, state, value, {}, outcome, wers)

    lost = slot(0, TrialState.PRUNED, "diverged", math.inf, e2=0.3, e4=0.2)
    near = slot(1, TrialState.PRUNED, "pruned", 0.5, e2=0.6, e4=0.5)
    early = slot(2, TrialState.PRUNED, "pruned", 0.45, e2=0.45)
    waiting = Slot(3, TrialState.WAITING, None, {}, None)
    assert best_slot([lost, early, near, waiting]) == near
    assert best_slot([lost, waiting]) is None


def test_a_pruned_trial_is_worth_its_best_wer_as_in_its_record(queue: SlotQueue) -> None:
    trial, lease = take(queue)
    for epoch, wer in ((1, 0.3), (2, 0.2), (3, 0.25)):
        trial.report(wer, epoch)
    queue.end(trial, RunEnd(State.PRUNED, 0.2))
    lease.release()
    assert queue.slots()[0].value == 0.2


def test_a_given_back_trial_keeps_its_number_settings_and_reports(queue: SlotQueue) -> None:
    for _ in range(2):
        trial, lease = take(queue)
    trial.report(0.9, 1)
    queue.give_back(trial.number)
    lease.release()
    again = queue.take(take_lease)
    assert again is not None
    assert again[0].number == trial.number
    assert again[0].params == trial.params
    assert len(queue.slots()) == 6


def _take_and_hang(folder: Path, definition: StudyDefinition, ready: Connection) -> None:
    taken = queue_in(folder, definition).take(take_lease)
    ready.send(taken is not None)
    signal.pause()


def test_the_trial_of_a_killed_worker_waits_again_but_not_that_of_a_live_one(
    queue: SlotQueue, tmp_path: Path, definition: StudyDefinition
) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    workers = [context.Process(target=_take_and_hang, args=(tmp_path, definition, there)) for _ in range(2)]  # fmt: skip
    for worker in workers:
        worker.start()
    there.close()
    assert [here.recv(), here.recv()] == [True, True]
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    queue.reclaim(LeaseWatch())
    states = [slot.state for slot in queue.slots()]
    workers[1].kill()
    workers[1].join()
    assert states[:2].count(TrialState.WAITING) == 1
    assert states[:2].count(TrialState.RUNNING) == 1


def _drain(folder: Path, definition: StudyDefinition, results: Connection) -> None:
    queue, done = queue_in(folder, definition), []
    while (taken := queue.take(take_lease)) is not None:
        trial, lease = taken
        queue.end(trial, RunEnd(State.FINISHED, 0.5))
        done.append(trial.number)
        lease.release()
    results.send(done)


def test_workers_at_once_run_each_slot_once(
    queue: SlotQueue, tmp_path: Path, definition: StudyDefinition
) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    workers = [context.Process(target=_drain, args=(tmp_path, definition, there)) for _ in range(2)]
    for worker in workers:
        worker.start()
    there.close()
    done = here.recv() + here.recv()
    for worker in workers:
        worker.join()
    assert sorted(done) == list(range(6))
    assert is_over(queue.slots())


def test_a_confirm_run_is_held_by_one_worker(queue: SlotQueue) -> None:
    lease = queue.take_confirm(0, take_lease)
    assert lease is not None
    assert queue.take_confirm(0, take_lease) is None
    other = queue.take_confirm(1, take_lease)
    assert other is not None
    other.release()
    lease.release()
    again = queue.take_confirm(0, take_lease)
    assert again is not None
    again.release()


def test_an_end_is_copied_once(queue: SlotQueue) -> None:
    trial, lease = take(queue)
    queue.end(trial, RunEnd(State.FINISHED, 0.4))
    queue.end(
        trial, RunEnd(State.FINISHED, 0.4)
    )  # the answer to the first was lost with the connection
    lease.release()
    assert [slot.value for slot in queue.slots()[:2]] == [0.4, None]


def test_a_trial_that_ends_while_we_look_stays_ended(
    queue: SlotQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker told its end and gave up its lease after we had read that it was running."""
    trial, lease = take(queue)
    get_trials = Study.get_trials

    def end_meanwhile(study: Study, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        monkeypatch.setattr(Study, "get_trials", get_trials)
        found = study.get_trials(*args, **kwargs)
        queue.end(trial, RunEnd(State.FINISHED, 0.5))
        lease.release()
        return found

    monkeypatch.setattr(Study, "get_trials", end_meanwhile)
    queue.reclaim(LeaseWatch())
    assert queue.slots()[trial.number].state == TrialState.COMPLETE


def _drain_after(begin: Event, folder: Path, definition: StudyDefinition, path: Path) -> None:
    begin.wait()
    queue = queue_in(folder, definition)
    while (taken := queue.take(take_lease)) is not None:
        trial, lease = taken
        with lease:
            with path.open("a") as done:  # one write: whole among those of others
                done.write(f"{trial.user_attrs['slot']}\n")
            queue.end(trial, RunEnd(State.FINISHED, 0.5))


@pytest.mark.slow
def test_a_hundred_workers_run_each_slot_once(tmp_path: Path, definition: StudyDefinition) -> None:
    many = replace(definition, budget=replace(definition.budget, num_trials=NUM_WORKERS))
    queue_in(tmp_path, many).prepare()
    context = multiprocessing.get_context("fork")  # spawned, each would import for seconds
    begin, path = context.Event(), tmp_path / "done"
    arguments = (begin, tmp_path, many, path)
    workers = [context.Process(target=_drain_after, args=arguments) for _ in range(NUM_WORKERS)]
    for worker in workers:
        worker.start()
    begin.set()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * NUM_WORKERS
    assert sorted(map(int, path.read_text().split())) == list(range(NUM_WORKERS))
    assert [slot.state for slot in queue_in(tmp_path, many).slots()] == [
        TrialState.COMPLETE
    ] * NUM_WORKERS
    assert not list(tmp_path.glob("runs/*/*/lease.json"))


def _take_one(folder: Path, definition: StudyDefinition) -> int | None:
    taken = queue_in(folder, definition).take(take_lease)
    return None if taken is None else int(taken[0].user_attrs["slot"])


def test_two_users_share_a_folder_that_both_may_write(
    tmp_path: Path, definition: StudyDefinition, as_another_user: Callable[..., Any]
) -> None:
    study = tmp_path / "study"
    queue = queue_in(study, definition)
    queue.prepare()
    ours = queue.take(take_lease)
    assert ours is not None
    refused = as_another_user(_take_one, study, definition)
    assert refused.startswith("UnwritableError: ")
    assert "cannot be written (Permission denied)" in refused
    for path in (study, *study.rglob("*")):  # as a common group and umask 002 have it
        path.chmod(0o777 if path.is_dir() else 0o666)
    assert as_another_user(_take_one, study, definition) == 1
    states = [slot.state for slot in queue.slots()]
    assert states == [TrialState.RUNNING] * 2 + [TrialState.WAITING] * 4
    queue.reclaim(LeaseWatch())  # their process has ended, ours has not
    assert [slot.state for slot in queue.slots()] == [TrialState.RUNNING] + [TrialState.WAITING] * 5
    ours[1].release()
