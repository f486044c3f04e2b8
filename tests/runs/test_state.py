"""The state machine of a run, edge by edge, on the folder that holds it."""

from itertools import product
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.queue.slots import TRIAL_STATES
from bench.runs import RunRecord
from bench.runs.layout import RUN, SUMMARY
from bench.runs.mlflow.mirror import STATUS
from bench.runs.state import (
    ENDS,
    STOPPED,
    TRAINED,
    IllegalTransitionError,
    RunEnd,
    State,
    has_ended,
    read_end,
    read_state,
    read_summary,
)
from reports.palette import GOING_ON
from reports.palette import STATES as SHOWN
from tests.studies import record_of

R = State.RUNNING
LEGAL = {
    (State.WAITING, R), (R, R), (R, State.KILLED), (State.KILLED, R), (R, State.FINISHED),
    (R, State.CUT), (R, State.PRUNED), (R, State.DIVERGED), (R, State.FAILED),
    (R, State.PAUSED), (State.PAUSED, R), (State.PAUSED, State.PRUNED),
}  # fmt: skip
"""Written out a second time, not read off the module."""
EDGES = list(product(State, State))


def opened(folder: Path, kind: str = "trial") -> RunRecord:
    return record_of(folder, kind=kind)


def brought_to(folder: Path, state: State, kind: str = "trial") -> None:
    """Walk from waiting to `state`."""
    folder.mkdir(exist_ok=True)
    if state != State.WAITING:
        record = opened(folder, kind)
        if state != State.RUNNING:
            record.close(state, {"best/valid/wer": 0.25})
    assert read_state(folder) == state


def go(folder: Path, after: State, kind: str = "trial") -> None:
    """Move the run to `after`, as its process would."""
    if after == State.RUNNING:
        opened(folder, kind)
    else:
        RunRecord(folder).close(after, {})


@pytest.mark.parametrize(("before", "after"), EDGES, ids=lambda s: s.value)
def test_every_edge_is_walked_or_refused(tmp_path: Path, before: State, after: State) -> None:
    brought_to(tmp_path, before)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if (before, after) in LEGAL:
        go(tmp_path, after)
        assert read_state(tmp_path) == after
        return
    with pytest.raises(IllegalTransitionError, match=f"is {before} cannot become {after}"):
        go(tmp_path, after)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(("before", "after"), EDGES, ids=lambda s: s.value)
def test_a_single_run_may_be_begun_again_after_its_end_and_nothing_else_differs(
    tmp_path: Path, before: State, after: State
) -> None:
    brought_to(tmp_path, before, "train")
    if (before, after) in LEGAL or (before in ENDS and after == State.RUNNING):
        go(tmp_path, after, "train")
        assert read_state(tmp_path) == after
    else:
        with pytest.raises(IllegalTransitionError):
            go(tmp_path, after, "train")


@pytest.mark.parametrize("state", State)
def test_only_ends_are_final(tmp_path: Path, state: State) -> None:
    brought_to(tmp_path, state)
    is_end = state in ("finished", "cut", "pruned", "diverged", "failed")
    assert has_ended(tmp_path) == is_end == (state in ENDS)
    assert read_end(tmp_path) == (RunEnd(state, 0.25) if is_end else None)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"state": "waiting"}', b"\xff\xfe"])
def test_a_damaged_end_is_none_for_those_who_run_and_an_error_for_those_who_count(
    tmp_path: Path, damage: bytes
) -> None:
    brought_to(tmp_path, State.FINISHED)
    (tmp_path / SUMMARY).write_bytes(damage)
    assert (read_state(tmp_path), read_end(tmp_path)) == (State.RUNNING, None)
    with pytest.raises(UserError, match=SUMMARY):
        read_summary(tmp_path)
    opened(tmp_path)
    assert not (tmp_path / SUMMARY).exists()


def test_a_kill_between_the_two_files_of_a_resume_leaves_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json is written first, summary.json removed last: in between the run is still killed."""
    brought_to(tmp_path, State.KILLED)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path)
    assert (tmp_path / RUN).exists()
    assert read_state(tmp_path) == State.KILLED


def test_all_that_is_derived_of_a_state_knows_every_state() -> None:
    assert set(TRIAL_STATES) == ENDS
    assert set(STATUS) == ENDS.union(STOPPED)
    assert set(SHOWN) >= {*ENDS, *STOPPED, State.RUNNING}
    assert {*GOING_ON} == {*State} - ENDS - {State.WAITING}
    assert set(TRAINED) < ENDS
