"""The queue of a study: N slots per system in an Optuna storage, each run exactly once.

A slot is an Optuna trial that the launcher has enqueued. Workers take waiting trials, and a trial
whose worker stopped or died goes back to waiting under its own number, so that the storage never
holds more trials than the budget has.

    Optuna's trial      run folder                  lease       what it means
    WAITING             waiting, running, killed    no          free; `take` gives it out
    WAITING             an end                      no          the next worker copies the end
    RUNNING             any                         held        a worker has it
    RUNNING             any                         gone        `reclaim` makes it WAITING
    COMPLETE, PRUNED,   an end                      any         over; TRIAL_STATES says which
    FAIL

So Optuna's state decides who may run a slot, and never how a run ended: that is read off the folder
(`bench.runs.state`) and copied by `end`, as often as needed.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from bench.core.config import Settings
from bench.core.seeding import derive
from bench.queue.lease import FILE as LEASE
from bench.queue.lease import Lease, LeaseWatch
from bench.queue.storage import QueueStorage, retried
from bench.runs.state import RunEnd, State
from bench.study.definition import StudyDefinition, run_folder
from bench.study.search import distribution, make_pruner, make_sampler, rank_last
from bench.study.space import Value

TakeLease = Callable[[Path], Lease]
"""Takes the lease on the run in a folder."""

METRIC_NAME = "valid WER (1 is 100 %)"
"""As optuna-dashboard labels the objective."""
SLOT = "slot"
STATE = "state"

TRIAL_STATES: Mapping[State, TrialState] = {
    State.FINISHED: TrialState.COMPLETE,
    State.CUT: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    # Not FAIL, which would teach the sampler nothing.
    State.DIVERGED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}
"""Optuna's trial state for the state in which a run ended; the latter is stored under STATE."""


@dataclass(frozen=True)
class Slot:
    """One trial of the budget, as the storage has it."""

    number: int
    state: TrialState
    value: float | None
    """Best valid WER; of a pruned trial the last one that it reported, infinite if it diverged."""
    params: Settings
    outcome: str | None
    """"finished", "cut", "pruned", "diverged" or "failed" once it has ended."""

    @property
    def is_running(self) -> bool:
        """Whether a worker has taken it and not ended it."""
        return self.state == TrialState.RUNNING


class SlotQueue:
    """The slots of one system.

    Each method waits out a short outage of the database; TemporaryError after a long one.
    """

    def __init__(
        self, definition: StudyDefinition, system: str, folder: Path, storage: QueueStorage
    ) -> None:
        self._definition = definition
        self._system = system
        self._folder = folder
        self._queue = storage
        self._storage = storage.optuna
        self._name = f"{definition.name}/{system}"
        self._loaded: Study | None = None

    @retried
    def prepare(self) -> None:
        """Create the study and enqueue the slots that are missing; the launcher calls it before any
        worker."""
        with self._queue.exclusive_lock():
            study = optuna.create_study(
                storage=self._storage,
                study_name=self._name,
                direction="minimize",
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([METRIC_NAME])
            present = {slot.number for slot in self._slots()}
            for slot in range(self._definition.budget.num_trials):
                if slot not in present:
                    fixed = self._defaults() if slot == 0 else {}
                    study.enqueue_trial(fixed, user_attrs={SLOT: slot})

    @retried
    def slots(self) -> list[Slot]:
        """Every slot, in order."""
        return self._slots()

    def _slots(self) -> list[Slot]:
        trials = self._load().get_trials(deepcopy=False)
        return sorted((_slot(t) for t in trials if SLOT in t.user_attrs), key=lambda s: s.number)

    def folder_of(self, kind: str, slot: int) -> Path:
        """Where trial ("trial") or confirm run ("confirm") `slot` keeps its record."""
        return run_folder(self._folder, self._system, kind, slot)

    @retried
    def reclaim(self, watch: LeaseWatch) -> None:
        """Break the leases of workers that are gone, by what `watch` has seen; their trials wait
        again."""
        with self._queue.exclusive_lock():
            held = set()
            for lease in self.folder_of("trial", 0).parent.glob(f"*/{LEASE}"):
                if watch.is_held(lease.parent):
                    held.add(lease.parent)
                else:
                    watch.break_(lease.parent)
            # Read after the leases: a worker tells the queue the end before it releases its lease,
            # so a trial without one that still runs has not been ended.
            for trial in self._load().get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                slot = trial.user_attrs.get(SLOT)
                # Taken under the same lock as the lease: without a lease nobody works on it.
                if slot is not None and self.folder_of("trial", slot) not in held:
                    self._give_back(trial.number)

    @retried
    def take(self, take_lease: TakeLease) -> tuple[Trial, Lease] | None:
        """The next waiting trial with the lease on its run, or None if there is none."""
        with self._queue.exclusive_lock():
            # `ask` takes a waiting trial, or makes a new one where none waits. Under the lock no
            # other worker takes the last one in between, so a study never exceeds its budget.
            study = self._load(sampled=True)
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            trial = study.ask(self._distributions())
            return trial, take_lease(self.folder_of("trial", trial.user_attrs[SLOT]))

    @retried
    def take_confirm(self, slot: int, take_lease: TakeLease) -> Lease | None:
        """The lease on confirm run `slot`, or None if another worker has it."""
        folder = self.folder_of("confirm", slot)
        with self._queue.exclusive_lock():
            return None if LeaseWatch().is_held(folder) else take_lease(folder)

    @retried
    def give_back(self, number: int) -> None:
        """Let another worker have trial `number`; it keeps its number, settings and reports."""
        self._give_back(number)

    def _give_back(self, number: int) -> None:
        study_id = self._storage.get_study_id_from_name(self._name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    @retried
    def end(self, trial: Trial, end: RunEnd) -> None:
        """Copy to the queue how the run of `trial` ended."""
        state = TRIAL_STATES[end.state]
        study = self._load()
        if study.get_trials(deepcopy=False)[trial.number].state.is_finished():
            return  # told before, and the answer was lost
        trial.set_user_attr(STATE, end.state.value)
        if end.state == State.DIVERGED:
            rank_last(trial)
        study.tell(trial, end.valid_wer if state == TrialState.COMPLETE else None, state=state)

    def _load(self, *, sampled: bool = False) -> Study:
        if not sampled:
            if self._loaded is None:  # its number and direction are asked for once
                self._loaded = optuna.load_study(study_name=self._name, storage=self._storage)
            return self._loaded
        budget = self._definition.budget
        # A sampler of the same seed in every worker would propose the same trial to all: derive it
        # from what is there.
        study = self._load()
        seed = derive(self._definition.seed, f"sampler/{self._system}", _num_begun(study))
        return optuna.load_study(
            study_name=self._name,
            storage=self._storage,
            sampler=make_sampler(budget, seed),
            pruner=make_pruner(budget),
        )

    def _defaults(self) -> dict[str, Value]:
        return {k: d.default for k, d in self._definition.searched(self._system).items()}

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {k: distribution(d) for k, d in self._definition.searched(self._system).items()}


def best_slot(slots: list[Slot]) -> Slot | None:
    """The slot with the lowest valid WER among those that trained as far as the budget goes; the
    earlier of equals."""
    ended = [s for s in slots if s.state == TrialState.COMPLETE and s.value is not None]
    return min(ended, key=lambda slot: (slot.value, slot.number), default=None)


def is_over(slots: list[Slot]) -> bool:
    """True once every slot has ended."""
    return all(slot.state.is_finished() for slot in slots)


def _slot(trial: FrozenTrial) -> Slot:
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if value is None and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    return Slot(
        number=trial.user_attrs[SLOT],
        state=trial.state,
        value=value,
        params=trial.params,
        outcome=trial.user_attrs.get(STATE),
    )


def _num_begun(study: Study) -> int:
    return sum(t.state != TrialState.WAITING for t in study.get_trials(deepcopy=False))
