"""The state of a run, of which its folder is the only owner.

                     ┌──────┐ its process died without a word
                     ▼      │
    waiting ──────► running ┘ ──────► finished  cut  pruned  diverged  failed     (ends)
                     ▲ ▲ │ │                          ▲                  │
                     │ │ │ │ at a rung                │ others were      │ bench.train,
         tried again │ │ │ └──────────► paused ───────┘ better           ▼ on a single run
                     │ │ │                │                           running
                     │ └─┼─ passes it ────┘
                     │   ▼
                     killed   stopped, or no memory or disk

    waiting    no run.json
    running    run.json, no summary.json; whether its process lives, the lease says
    others     `state` in summary.json

Everything else is derived from it: Optuna's trial state and user attribute `state` (what the
samplers learn), MLflow's status and tag (`bench.runs.mlflow.mirror`), the tables of the report. A
process that dies between the folder and a copy leaves the copy behind; whoever comes next reads the
folder and brings the copy up to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.core.errors import UserError
from bench.runs.layout import RUN, SUMMARY, Summary, checked, damaged, read_json


class State(StrEnum):
    """What a run is doing, or how it ended."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    """Trained to its last epoch, or until nothing improved, and scored."""
    CUT = "cut"
    """Trained until the cap on training seconds, and scored."""
    PRUNED = "pruned"
    """Given up by the search's pruner."""
    DIVERGED = "diverged"
    """Its loss was not finite for too long."""
    FAILED = "failed"
    """An error, or its process died too often."""
    KILLED = "killed"
    """Stopped from outside; it will be resumed."""
    PAUSED = "paused"
    """A trial at a rung of halving: whether it goes on is not known yet."""


TRAINED = (State.FINISHED, State.CUT)
"""Trained as far as the budget goes, and scored."""
ENDS = frozenset({*TRAINED, State.PRUNED, State.DIVERGED, State.FAILED})
"""Final: a study never runs such a run again."""
STOPPED = (State.KILLED, State.PAUSED)
"""Left by its process on request, with a checkpoint from which it can be resumed."""

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.RUNNING, State.KILLED, State.PAUSED}) | ENDS,
    State.KILLED: frozenset({State.RUNNING}),
    State.PAUSED: frozenset({State.RUNNING, State.PRUNED}),
    **dict.fromkeys(ENDS, frozenset()),
}
"""To what a run of a study may go from each state."""


class IllegalTransitionError(Exception):
    """A bug: some code moved a run along an edge that the state machine does not have."""


@dataclass(frozen=True)
class RunEnd:
    """How a call that ran a run ended it, or how it had ended before."""

    state: State
    valid_wer: float | None
    """Its best, if it was ever evaluated."""
    num_epochs: float = 0.0
    """Trained for; of those begun too."""


def check_transition(before: State, after: State, *, is_single: bool = False) -> None:
    """Return if a run may go from `before` to `after`.

    A single run (`is_single`, of bench.train) may also be begun again after its end: a person has
    asked for that run by name, after correcting what made it fail.

    Raises:
        IllegalTransitionError: it may not.
    """
    if after in TRANSITIONS[before]:
        return
    if is_single and before in ENDS and after == State.RUNNING:
        return
    raise IllegalTransitionError(f"a run that is {before} cannot become {after}")


def read_state(folder: Path) -> State:
    """The state of the run in `folder`. A damaged end counts as none: the run is resumed."""
    if (summary := _undamaged_summary(folder)) is not None:
        return State(summary["state"])
    return State.RUNNING if (folder / RUN).exists() else State.WAITING


def read_end(folder: Path) -> RunEnd | None:
    """How the run in `folder` ended, or None if it has not, or will be resumed."""
    summary = _undamaged_summary(folder)
    if summary is None or summary["state"] not in ENDS:
        return None
    metrics = summary["metrics"]
    num_epochs = metrics.get("num_epochs", 0.0)
    return RunEnd(State(summary["state"]), metrics.get("best/valid/wer"), num_epochs)


def has_ended(folder: Path) -> bool:
    """True once the run in `folder` has ended for good."""
    return read_state(folder) in ENDS


def read_summary(folder: Path) -> Summary | None:
    """What summary.json holds; None while the run has not ended.

    Raises:
        UserError: it is damaged.
    """
    path = folder / SUMMARY
    value = read_json(path)
    if value is None:
        return None
    summary = checked(path, value, Summary)
    for key, metric in summary["metrics"].items():
        if not isinstance(metric, int | float):
            raise damaged(path, f"{key} is {metric!r}")
    if summary["state"] not in ENDS.union(STOPPED):
        raise damaged(path, f"state is {summary['state']!r}")
    return summary


def _undamaged_summary(folder: Path) -> Summary | None:
    try:
        return read_summary(folder)
    except UserError:
        return None
