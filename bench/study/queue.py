"""The queue of a study: N slots per system in an Optuna storage, each run exactly once.

A slot is an Optuna trial that the launcher has enqueued. Workers take waiting trials, and a trial
whose worker stopped or died goes back to waiting under its own number, so that the storage never
holds more trials than the budget has. A worker holds a file lock in its run's folder for as long as
it lives; the kernel frees it however the worker ends, which is how a dead worker's trial is told
from a slow one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from bench.core.errors import UserError
from bench.core.masking import mask
from bench.core.seeding import derive
from bench.study.definition import StudyDefinition
from bench.study.journal import WholeLinesBackend
from bench.study.search import distribution, make_pruner, make_sampler
from bench.study.space import Value

JOURNAL = "optuna.journal"
SLOT = "slot"
STATE = "state"


def open_storage(url: str | None, folder: Path, *, num_workers: int) -> BaseStorage:
    """The storage at `url`, or the journal file of the study in `folder`.

    Raises:
        UserError: SQLite with several workers (Optuna then runs slots twice), or a storage out of
        reach.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        return JournalStorage(WholeLinesBackend(folder / JOURNAL))
    if url.startswith("sqlite") and num_workers > 1:
        raise UserError(
            f"SQLite holds a study of one worker only, got --workers {num_workers}; leave "
            "--storage out (a journal file), or use postgresql://"
        )
    try:
        return RDBStorage(url)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(mask(f"storage {url} cannot be opened: {reason}; check the URL")) from error


@dataclass(frozen=True)
class Slot:
    """One trial of the budget, as the storage has it."""

    number: int
    state: TrialState
    value: float | None
    """Best valid WER; of a pruned trial the last one that it reported."""
    params: Mapping[str, Any]
    outcome: str | None
    """"finished", "pruned", "diverged" or "failed" once it has ended."""


class SlotQueue:
    """The slots of one system."""

    def __init__(
        self, definition: StudyDefinition, system: str, folder: Path, storage: BaseStorage
    ) -> None:
        self._definition = definition
        self._system = system
        self._folder = folder
        self._storage = storage
        self._name = f"{definition.name}/{system}"

    def prepare(self) -> None:
        """Create the study and enqueue the slots that are missing; the launcher calls it before any
        worker."""
        study = optuna.create_study(
            storage=self._storage, study_name=self._name, direction="minimize", load_if_exists=True
        )
        with self._claim():
            present = {slot.number for slot in self.slots()}
            for slot in range(self._definition.budget.num_trials):
                if slot not in present:
                    fixed = self._defaults() if slot == 0 else {}
                    study.enqueue_trial(fixed, user_attrs={SLOT: slot})

    def slots(self) -> list[Slot]:
        """Every slot, in order."""
        trials = self._load().get_trials(deepcopy=False)
        return sorted((_slot(t) for t in trials if SLOT in t.user_attrs), key=lambda s: s.number)

    def run_folder(self, slot: int) -> Path:
        """Where trial `slot` keeps its record."""
        return self._folder / "runs" / self._system / f"trial-{slot:03d}"

    def reclaim(self) -> None:
        """Put back the trials whose worker is gone."""
        with self._claim():
            for trial in self._load().get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if SLOT not in trial.user_attrs:
                    continue
                lock = run_lock(self.run_folder(trial.user_attrs[SLOT]))
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                self.give_back(trial.number)
                lock.release()

    def take(self) -> tuple[Trial, FileLock] | None:
        """The next waiting trial with its run's lock held, or None if there is none."""
        study = self._load(sampled=True)
        with self._claim():
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            trial = study.ask(self._distributions())
            lock = run_lock(self.run_folder(trial.user_attrs[SLOT]))
            lock.acquire()
            return trial, lock

    def give_back(self, number: int) -> None:
        """Let another worker have trial `number`; it keeps its number, settings and reports."""
        study_id = self._storage.get_study_id_from_name(self._name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def end(self, trial: Trial, outcome: str, value: float | None) -> None:
        """Record how `trial` ended; `value` is its best valid WER, if it has one."""
        state = {
            "finished": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            # Pruned with its worst value, so that the sampler learns to stay away; NaN would teach
            # it nothing.
            "diverged": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[outcome]
        trial.set_user_attr(STATE, outcome)
        self._load().tell(trial, value if outcome == "finished" else None, state=state)

    def _load(self, *, sampled: bool = False) -> Study:
        if not sampled:
            return optuna.load_study(study_name=self._name, storage=self._storage)
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

    @contextmanager
    def _claim(self) -> Iterator[None]:
        """Only one process at a time looks for trials to take or to put back."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".claim.lock"):
            yield

    def _defaults(self) -> dict[str, Value]:
        return {k: d.default for k, d in self._definition.searched(self._system).items()}

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {k: distribution(d) for k, d in self._definition.searched(self._system).items()}


def run_lock(folder: Path) -> FileLock:
    """The lock that a run's worker holds while it lives."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def best_slot(slots: list[Slot]) -> Slot | None:
    """The slot with the lowest valid WER among those that trained to the end; the earlier of
    equals."""
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
