"""Trials that wait at rungs: who goes on, and who is given up, whatever happens to workers."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from bench.queue.lease import Lease, LeaseWatch
from bench.queue.slots import SlotQueue, best_slot, is_over
from bench.queue.storage import QueueStorage
from bench.runs import RunRecord
from bench.runs.state import RunEnd, State, read_end, read_state
from bench.study.definition import StudyDefinition
from bench.study.space import load_budget
from tests.studies import record_of, study_of, take

WAITING, RUNNING, PRUNED = TrialState.WAITING, TrialState.RUNNING, TrialState.PRUNED


@pytest.fixture
def definition(request: pytest.FixtureRequest) -> StudyDefinition:
    budget = replace(load_budget("smoke"), num_trials=4, search_epochs=8, warmup_epochs=2)
    assert budget.rungs == (2, 4)
    return study_of(["ds-gru"], budget, seed=3, name=f"halving-{request.node.originalname}")


@pytest.fixture
def queue(tmp_path: Path, definition: StudyDefinition, url: str | None) -> Iterator[SlotQueue]:
    with closing(QueueStorage(url, tmp_path, num_workers=2)) as storage:
        made = SlotQueue(definition, "ds-gru", tmp_path, storage)
        made.prepare()
        yield made


def begin(queue: SlotQueue) -> tuple[Trial, Lease, RunRecord]:
    """What a worker does before it trains."""
    trial, lease = take(queue)
    slot = trial.user_attrs["slot"]
    return trial, lease, record_of(queue.folder_of("trial", slot), slot=slot)


def train_to(queue: SlotQueue, epoch: int, wer: float) -> int:
    """The next waiting trial trains until it is judged after `epoch`; returns its slot."""
    trial, lease, record = begin(queue)
    state = queue.judge(trial, epoch, wer) or State.FINISHED
    record.close(state, {"best/valid/wer": wer, "train_seconds": 10.0 * epoch})
    if state != State.PAUSED:
        queue.end(trial, RunEnd(state, wer))
    lease.release()
    return int(trial.user_attrs["slot"])


def states(queue: SlotQueue) -> list[TrialState]:
    return [slot.state for slot in queue.slots()]


def test_a_search_from_its_first_trial_to_its_last(queue: SlotQueue) -> None:
    watch = LeaseWatch()
    for number, wer in enumerate((0.4, 0.1, 0.2)):
        assert train_to(queue, 2, wer) == number
        assert queue.reclaim(watch) == []
    assert [slot.number for slot in queue.resting(queue.slots())] == [0, 1, 2]
    assert states(queue) == [RUNNING] * 3 + [WAITING]
    params = [slot.params for slot in queue.slots()]
    # The last to arrive knows at once that it is out.
    trial, lease, record = begin(queue)
    assert queue.judge(trial, 2, 0.5) == State.PRUNED
    record.close(State.PRUNED, {})
    queue.end(trial, RunEnd(State.PRUNED, 0.5))
    lease.release()
    assert queue.reclaim(watch) == [queue.folder_of("trial", 0)]
    assert read_end(queue.folder_of("trial", 0)) == RunEnd(State.PRUNED, 0.4)
    assert queue.reclaim(watch) == [], "a second launcher finds nothing to do"
    assert states(queue) == [PRUNED, WAITING, WAITING, PRUNED]
    assert queue.slots()[0].outcome == "pruned"
    assert [train_to(queue, 4, wer) for wer in (0.15, 0.05)] == [1, 2]
    queue.reclaim(watch)
    assert states(queue) == [PRUNED, PRUNED, TrialState.COMPLETE, PRUNED]
    slots = queue.slots()
    assert is_over(slots)
    assert [slot.params for slot in slots][:3] == params[:3]
    best = best_slot(slots)
    assert best is not None
    assert (best.number, best.value) == (2, 0.05)


def test_a_pruned_trial_keeps_what_it_had_measured_when_it_paused(queue: SlotQueue) -> None:
    for wer in (0.4, 0.1, 0.2, 0.3):
        train_to(queue, 2, wer)
    queue.reclaim(LeaseWatch())
    folder = queue.folder_of("trial", 0)
    assert read_state(folder) == State.PRUNED
    assert '"train_seconds": 20.0' in (folder / "summary.json").read_text()


def test_a_worker_that_dies_at_its_rung_leaves_a_trial_that_need_not_be_trained_to_it_again(
    queue: SlotQueue,
) -> None:
    """It has told its WER, and neither checkpoint nor end were written."""
    for wer in (0.4, 0.1):
        trial, lease, _ = begin(queue)
        assert queue.judge(trial, 2, wer) == State.PAUSED
        lease.release()
    queue.reclaim(LeaseWatch())
    assert states(queue) == [RUNNING, RUNNING, WAITING, WAITING]
    for wer in (0.2, 0.3):
        train_to(queue, 2, wer)
    queue.reclaim(LeaseWatch())
    assert states(queue)[:2] == [WAITING, WAITING], "who is out has no end, so a worker writes it"
    trial, lease, _ = begin(queue)
    assert queue.standing(trial) == State.PRUNED
    lease.release()


def test_a_worker_that_dies_before_its_rung_is_replaced(queue: SlotQueue) -> None:
    trial, lease, _ = begin(queue)
    assert queue.judge(trial, 1, 0.4) is None
    lease.release()
    queue.reclaim(LeaseWatch())
    assert states(queue)[0] == WAITING


def test_a_trial_that_diverges_after_a_rung_is_missed_there_by_nobody(queue: SlotQueue) -> None:
    for wer in (0.1, 0.2, 0.3, 0.4):
        train_to(queue, 2, wer)
    queue.reclaim(LeaseWatch())
    trial, lease, record = begin(queue)
    record.close(State.DIVERGED, {})
    queue.end(trial, RunEnd(State.DIVERGED, 0.1))
    lease.release()
    queue.reclaim(LeaseWatch())
    assert states(queue) == [PRUNED, WAITING, PRUNED, PRUNED]
    assert train_to(queue, 4, 0.2) == 1
    assert states(queue)[1] == TrialState.COMPLETE


def test_a_launcher_that_dies_while_it_ends_a_trial_leaves_it_to_the_next(
    queue: SlotQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wer in (0.4, 0.1, 0.2, 0.3):
        train_to(queue, 2, wer)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(queue, "_end", die)
        with pytest.raises(KeyboardInterrupt):
            queue.reclaim(LeaseWatch())
    assert (read_state(queue.folder_of("trial", 0)), states(queue)[0]) == (State.PRUNED, RUNNING)
    queue.reclaim(LeaseWatch())
    assert states(queue)[0] == WAITING, "the next worker copies the end"


def test_a_rung_between_two_evaluations_is_reached_at_the_later(queue: SlotQueue) -> None:
    for wer in (0.1, 0.2, 0.3):
        train_to(queue, 5, wer)
    assert [slot.rung for slot in queue.slots()] == [4, 4, 4, 0]
    train_to(queue, 5, 0.4)
    queue.reclaim(LeaseWatch())
    assert states(queue) == [WAITING, PRUNED, PRUNED, PRUNED]
