"""The queue of a study: N slots per system in an Optuna storage, each run exactly once.

A slot is an Optuna trial that the launcher has enqueued. Workers take waiting trials, and a trial
whose worker stopped or died goes back to waiting under its own number, so that the storage never
holds more trials than the budget has.

    Optuna's trial      run folder                  lease       what it means
    WAITING             waiting, running, killed,   no          free; `take` gives it out
                        paused
    WAITING             an end                      no          the next worker copies the end
    RUNNING             any                         held        a worker has it
    RUNNING             any                         gone        `reclaim` makes it WAITING, unless
                                                                it rests at a rung
    COMPLETE, PRUNED,   an end                      any         over; TRIAL_STATES says which
    FAIL

So Optuna's state decides who may run a slot, and never how a run ended: that is read off the folder
(`bench.runs.state`) and copied by `end`, as often as needed.

With halving, a trial that reaches a rung tells the queue its WER there. Whether it waits, goes on
or is given up follows from these WERs alone (`bench.study.rungs`), also for a trial whose worker
died between telling its WER and pausing. While it waits it is RUNNING without a lease; once all
others are there, `reclaim` makes it WAITING, or ends it.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from bench.core.config import Settings
from bench.core.seeding import derive
from bench.queue.lease import FILE as LEASE
from bench.queue.lease import Lease, LeaseWatch
from bench.queue.storage import QueueStorage, retried
from bench.runs.record import end_paused
from bench.runs.state import RunEnd, State, read_state
from bench.study.definition import StudyDefinition, run_folder
from bench.study.rungs import Climber, Standing, standings
from bench.study.search import distribution, make_pruner, make_sampler, rank_last
from bench.study.winner import winner

TakeLease = Callable[[Path], Lease]
"""Takes the lease on the run in a folder."""

METRIC_NAME = "valid WER (1 is 100 %)"
"""As optuna-dashboard labels the objective."""
SLOT = "slot"
STATE = "state"
RUNG = "rung "
"""Before the epoch of a rung: the key of the trial's WER there."""

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
    """Best valid WER so far; infinite if it diverged."""
    params: Settings
    outcome: str | None
    """"finished", "cut", "pruned", "diverged" or "failed" once it has ended."""
    wers_at_rungs: Mapping[int, float] = field(default_factory=dict)
    """Valid WER by epoch, of halving."""

    @property
    def is_running(self) -> bool:
        """Whether a worker has taken it and not ended it."""
        return self.state == TrialState.RUNNING

    @property
    def rung(self) -> int:
        """The last that it has reached, an epoch; 0 if none."""
        return max(self.wers_at_rungs, default=0)


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
        self._rungs = definition.budget.rungs

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
            present = {slot.number for slot in self._slots()}
            if not present:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    study.set_metric_names([METRIC_NAME])
            for slot in range(self._definition.budget.num_trials):
                if slot not in present:
                    # Slot 0 tries the defaults: no search ends worse on valid than no search.
                    searched = self._definition.searched(self._system) if slot == 0 else {}
                    fixed = {key: dimension.default for key, dimension in searched.items()}
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

    def resting(self, slots: list[Slot]) -> list[Slot]:
        """Those of `slots`, which are all of the system, that wait at a rung for others."""
        standing = self._standings(slots)
        return [s for s in slots if s.is_running and standing[s.number] == Standing.WAITS]

    def _standings(self, slots: list[Slot]) -> dict[int, Standing]:
        climbers = [
            Climber(slot=s.number, wers=s.wers_at_rungs, has_ended=s.state.is_finished())
            for s in slots
        ]
        return standings(climbers, self._rungs)

    @retried
    def reclaim(self, watch: LeaseWatch) -> list[Path]:
        """Break the leases of workers that are gone, by what `watch` has seen; their trials wait
        again, and so do those that may pass their rung. Trials that may not, and which no worker
        has, are ended; returns their folders."""
        ended = []
        with self._queue.exclusive_lock():
            held = set()
            for lease in self.folder_of("trial", 0).parent.glob(f"*/{LEASE}"):
                if watch.is_held(lease.parent):
                    held.add(lease.parent)
                else:
                    watch.break_(lease.parent)
            # Read after the leases: a worker tells the queue the end before it releases its lease,
            # so a trial without one that still runs has not been ended.
            trials = self._load().get_trials(deepcopy=False)
            standing = self._standings([_slot(t) for t in trials if SLOT in t.user_attrs])
            for trial in trials:
                slot = trial.user_attrs.get(SLOT)
                if slot is None or trial.state != TrialState.RUNNING:
                    continue
                folder = self.folder_of("trial", slot)
                # Taken under the same lock as the lease: without a lease nobody works on it.
                if folder in held or standing[slot] == Standing.WAITS:
                    continue
                if standing[slot] == Standing.OUT and read_state(folder) == State.PAUSED:
                    self._end(trial.number, end_paused(folder))
                    ended.append(folder)
                else:
                    self._give_back(trial.number)
        return ended

    @retried
    def take(self, take_lease: TakeLease) -> tuple[Trial, Lease] | None:
        """The next waiting trial with the lease on its run, or None if there is none."""
        with self._queue.exclusive_lock():
            # `ask` takes a waiting trial, or makes a new one where none waits. Under the lock no
            # other worker takes the last one in between, so a study never exceeds its budget.
            study = self._load(sampled=True)
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            searched = self._definition.searched(self._system)
            trial = study.ask({key: distribution(d) for key, d in searched.items()})
            # Should this process die before the lease is there, `reclaim` finds the trial without
            # one.
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
        self._storage.set_trial_state_values(self._id_of(number), TrialState.WAITING)

    def _id_of(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self._name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def judge(self, trial: Trial, epoch: int, wer: float) -> State | None:
        """Tell the queue the valid WER of `trial` after `epoch`, once even if its run is resumed.

        Returns:
            PAUSED if it waits at a rung, PRUNED if it is given up, None if it goes on.
        """
        known = self._load().get_trials(deepcopy=False)[trial.number]
        if epoch not in known.intermediate_values:
            trial.report(wer, epoch)
        # Told before anything is asked: the pruner and the standings read the storage, where this
        # trial must stand with its newest WER.
        for rung in self._rungs:
            # A rung between two evaluations is reached at the later one.
            if rung <= epoch and f"{RUNG}{rung}" not in known.user_attrs:
                trial.set_user_attr(f"{RUNG}{rung}", wer)
        return State.PRUNED if trial.should_prune() else self.standing(trial)

    def standing(self, trial: Trial) -> State | None:
        """What the rungs say of `trial`, as `judge`."""
        slots = self._slots()
        standing = self._standings(slots)[trial.user_attrs[SLOT]]
        return {Standing.WAITS: State.PAUSED, Standing.OUT: State.PRUNED}.get(standing)

    @retried
    def end(self, trial: Trial, end: RunEnd) -> None:
        """Copy to the queue how the run of `trial` ended."""
        if end.state == State.DIVERGED and not self._has_ended(trial.number):
            rank_last(trial)
        self._end(trial.number, end)

    def _has_ended(self, number: int) -> bool:
        return self._load().get_trials(deepcopy=False)[number].state.is_finished()

    def _end(self, number: int, end: RunEnd) -> None:
        if self._has_ended(number):
            return  # told before, and the answer was lost
        # Optuna lets nothing of a trial that has ended be changed: the attribute comes first. It
        # takes the last reported value of a trial that is told PRUNED.
        self._storage.set_trial_user_attr(self._id_of(number), STATE, end.state.value)
        state = TRIAL_STATES[end.state]
        value = end.valid_wer if state == TrialState.COMPLETE else None
        self._load().tell(number, value, state=state)

    def _load(self, *, sampled: bool = False) -> Study:
        if not sampled:
            if self._loaded is None:  # its number and direction are asked for once
                self._loaded = optuna.load_study(study_name=self._name, storage=self._storage)
            return self._loaded
        budget = self._definition.budget
        # A sampler of the same seed in every worker would propose the same trial to all: derive it
        # from what is there.
        trials = self._load().get_trials(deepcopy=False)
        num_begun = sum(trial.state != TrialState.WAITING for trial in trials)
        seed = derive(self._definition.seed, f"sampler/{self._system}", num_begun)
        return optuna.load_study(
            study_name=self._name,
            storage=self._storage,
            sampler=make_sampler(budget, seed),
            pruner=make_pruner(budget),
        )


def best_slot(slots: list[Slot]) -> Slot | None:
    """The slot whose setting the confirm runs have, of all of a system; see `winner`."""
    ends = {s.number: RunEnd(State(s.outcome), s.value, s.rung) for s in slots if s.outcome}
    best = winner(ends, sorted({rung for slot in slots for rung in slot.wers_at_rungs}))
    return next((slot for slot in slots if slot.number == best), None)


def is_over(slots: list[Slot]) -> bool:
    """True once every slot has ended."""
    return all(slot.state.is_finished() for slot in slots)


def _slot(trial: FrozenTrial) -> Slot:
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if value is None:
        value = min(trial.intermediate_values.values(), default=None)
    return Slot(
        number=trial.user_attrs[SLOT],
        state=trial.state,
        value=value,
        params=trial.params,
        outcome=trial.user_attrs.get(STATE),
        wers_at_rungs={
            int(key.removeprefix(RUNG)): wer
            for key, wer in trial.user_attrs.items()
            if key.startswith(RUNG)
        },
    )
