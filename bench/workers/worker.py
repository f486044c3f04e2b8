"""One process, one run: take a trial or a confirm run, train it, record how it ended.

A crash, a leak or the out-of-memory killer then costs one run. Workers are disposable: what is done
is in the run folders and in the queue, and starting again is how a study resumes.
"""

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import torch
from optuna.trial import Trial

from bench.core.cli import EXIT_START_AGAIN
from bench.core.config import Resolved, Settings, flatten
from bench.core.errors import ExhaustedError, TemporaryError, UserError
from bench.core.gpus import environment_of
from bench.core.masking import MaskingFormatter
from bench.core.memory import as_exhausted
from bench.queue.lease import Lease
from bench.queue.slots import SlotQueue, best_slot
from bench.queue.storage import QueueStorage, retry_until_available
from bench.runs import RunIdentity, TrackingTarget
from bench.runs.run import RunPlan, attempts_so_far, execute_run, give_up
from bench.runs.state import RunEnd, State, has_ended, read_end, read_state
from bench.study import definition as definitions
from bench.study.definition import StudyDefinition
from bench.study.rounds import round_of_run
from bench.training.config import RunConfig
from bench.training.progress import Progress

MAX_ATTEMPTS = 3
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The work that the launcher assigns to a worker; plain values, since it is pickled."""

    folder: Path
    system: str
    """Its label."""
    kind: str
    """"trial" takes the next waiting slot; "confirm" runs `slot`."""
    slot: int | None
    storage_url: str | None = field(repr=False)
    """May hold a password."""
    num_workers: int
    num_threads: int
    grace_seconds: float
    """Time without a heartbeat after which its lease expires."""
    target: TrackingTarget
    gpu: str | None = None
    """The GPU that it may use, or several, as CUDA_VISIBLE_DEVICES names them; None: all."""
    num_ranks: int = 1
    """Processes that divide each batch of the run."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment, unless the user has set them."""

    def on_gpu(self, gpu: str, variables: Mapping[str, str] | None = None) -> "Assignment":
        """The same on one GPU."""
        return replace(self, gpu=gpu, variables=variables or {})


class _LauncherLink:
    """The connection to the launcher: takes messages, and is true once the worker shall stop, which
    SIGTERM says, or the launcher's end of it being closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)
        # Ctrl-C reaches the whole terminal's group; only the launcher answers it, by SIGTERM to its
        # workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._await_hangup, name="hangup", daemon=True).start()

    def _await_hangup(self) -> None:
        # At once, not with the next message: the launcher may be lost with its whole node.
        # poll reports a hang-up without being asked, so no event is asked for.
        hangup = select.poll()
        hangup.register(self._connection.fileno(), 0)
        hangup.poll()
        self.ask()

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        self.ask()

    def ask(self) -> None:
        """Request that this worker stops."""
        self._asked = True

    def __bool__(self) -> bool:
        return self._asked

    def tell(self, message: dict[str, object]) -> None:
        try:
            self._connection.send(message)
        except OSError:
            self._asked = True


def work(assignment: Assignment, connection: Connection) -> None:
    """The body of a worker process; exits with 0 (the run has ended), 75 (start it again) or by a
    crash."""
    # CUDA reads these when it is first used in a process. torch is imported already, by the server
    # that this process was forked from, but has not used it.
    if assignment.gpu is not None:
        os.environ.update(environment_of(assignment.gpu))
    for name, value in assignment.variables.items():
        os.environ.setdefault(name, value)
    launcher = _LauncherLink(connection)
    torch.set_num_threads(assignment.num_threads)
    do = _work_on_trial if assignment.kind == "trial" else _work_on_confirm
    over = False
    try:
        definition = definitions.load(assignment.folder)
        with closing(
            QueueStorage(
                assignment.storage_url, assignment.folder, num_workers=assignment.num_workers
            )
        ) as storage:
            queue = SlotQueue(definition, assignment.system, assignment.folder, storage)
            over = do(assignment, definition, queue, launcher)
    except TemporaryError as error:
        _logger.warning("%s", error)
    except Exception as error:
        if (exhausted := as_exhausted(error)) is None:
            raise
        launcher.tell({"exhausted": str(exhausted)})
    sys.exit(0 if over else EXIT_START_AGAIN)


def _work_on_trial(
    assignment: Assignment,
    definition: StudyDefinition,
    queue: SlotQueue,
    launcher: _LauncherLink,
) -> bool:
    taken = queue.take(_lease_taker(assignment))
    if taken is None:
        return True
    trial, lease = taken
    with lease:
        slot = trial.user_attrs["slot"]
        folder = queue.folder_of("trial", slot)
        # A dead worker or a database outage may have left the queue behind the folder.
        end = read_end(folder)
        if end is None:
            resolved = definition.trial(assignment.system, slot, trial.params)
            plan = _plan(assignment, definition, slot, trial.params, resolved, folder)
            launcher.tell({"slot": slot, "is_new": read_state(folder) == State.WAITING})
            report = _TrialReport(queue, trial, launcher)
            end = _execute(plan, launcher, report, lease)
            if report.database_is_gone:
                return False  # whoever finds the trial without a lease gives it back
        if end.state == State.KILLED:
            queue.give_back(trial.number)
            return False
        if end.state == State.PAUSED:  # whoever finds all others at its rung goes on with it
            launcher.tell({"rung": report.epoch})
        else:
            queue.end(trial, end)
    return True


def _work_on_confirm(
    assignment: Assignment,
    definition: StudyDefinition,
    queue: SlotQueue,
    launcher: _LauncherLink,
) -> bool:
    best = best_slot(queue.slots())
    assert best is not None, "the launcher confirms only systems that have a finished trial"
    assert assignment.slot is not None
    slot = assignment.slot
    folder = queue.folder_of("confirm", slot)
    resolved = definition.confirm(assignment.system, slot, best.params)
    lease = queue.take_confirm(slot, _lease_taker(assignment))
    if lease is None:
        return True
    with lease:
        if has_ended(folder):
            return True  # by a worker of another launcher, while this one was starting
        plan = _plan(assignment, definition, slot, best.params, resolved, folder)
        end = _execute(plan, launcher, _Report(launcher), lease)
        return end.state != State.KILLED


def _lease_taker(assignment: Assignment) -> Callable[[Path], Lease]:
    # At once, from the lease's own thread: the main thread may be about to write.
    leave = partial(os._exit, EXIT_START_AGAIN)
    return partial(Lease.take, grace_seconds=assignment.grace_seconds, on_loss=leave)


class _Report:
    """Reports a run's progress to the launcher; returns the state to stop in, if it must stop."""

    def __init__(self, launcher: _LauncherLink) -> None:
        self._launcher = launcher

    def __call__(self, progress: Progress) -> State | None:
        self._launcher.tell(
            {
                "fraction": progress.epoch / progress.num_epochs,
                "epoch": progress.epoch,
                "wer": progress.metrics.get("valid/wer"),
            }
        )
        return State.KILLED if self._launcher else None


class _TrialReport(_Report):
    """Also asks the queue after each evaluation whether the trial goes on."""

    def __init__(self, queue: SlotQueue, trial: Trial, launcher: _LauncherLink) -> None:
        super().__init__(launcher)
        self._queue = queue
        self._trial = trial
        self.database_is_gone = False
        self.epoch = 0
        """The last that was judged."""
        self._is_out = retry_until_available(lambda: queue.standing(trial)) == State.PRUNED
        """Given up while no worker had it, and not yet ended: its worker died at the rung."""

    def __call__(self, progress: Progress) -> State | None:
        stop = super().__call__(progress)
        if self._is_out:
            return State.PRUNED
        if not progress.evaluated:
            return stop
        if progress.epoch != round(progress.epoch):
            return stop  # cut within an epoch: nothing to compare with others at its end
        self.epoch = epoch = round(progress.epoch)
        try:
            judged = retry_until_available(
                lambda: self._queue.judge(self._trial, epoch, progress.metrics["valid/wer"]),
                is_stopped=lambda: bool(self._launcher),
            )
        except TemporaryError:
            # Training stops at a checkpoint, as if it were asked to.
            self.database_is_gone = True
            self._launcher.ask()
            return State.KILLED
        # A trial that ends here by itself is finished or cut, not pruned. One that is asked to stop
        # at its rung is paused: it must not go beyond when it is resumed.
        return stop if judged is None or progress.is_last else judged


def _execute(plan: RunPlan, launcher: _LauncherLink, report: _Report, lease: Lease) -> RunEnd:
    """Run the plan, or give up after too many attempts; a failure is recorded, not
    raised, so that the slot counts as used."""
    if plan.identity.attempt > MAX_ATTEMPTS:
        return give_up(
            plan,
            f"its worker died {MAX_ATTEMPTS} times",
            may_score=plan.identity.attempt == MAX_ATTEMPTS + 1,  # scoring may kill it, too
            check_lease=lease.check,
        )
    handler = logging.FileHandler(plan.folder / "run.log")
    handler.setFormatter(MaskingFormatter(LOG_FORMAT))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)
    try:
        return execute_run(plan, report, check_lease=lease.check)
    except (ExhaustedError, TemporaryError):
        raise
    except UserError as error:
        _logger.error("%s", error)
        launcher.tell({"failed": str(error)})
    except Exception as error:
        _logger.exception("run failed")
        launcher.tell({"failed": f"{type(error).__name__}: {error}"})
    return RunEnd(State.FAILED, None)


def _plan(
    assignment: Assignment,
    definition: StudyDefinition,
    slot: int,
    params: Settings,
    resolved: Resolved[RunConfig],
    folder: Path,
) -> RunPlan:
    return RunPlan(
        identity=RunIdentity(
            study=definition.name,
            system=assignment.system,
            kind=assignment.kind,
            slot=slot,
            attempt=attempts_so_far(folder) + 1,
            seed=resolved.config.seed,
            params=flatten(dict(params)),
            data_digest=definition.data_digest,
            round=round_of_run(definition, assignment.kind, slot),
            num_ranks=assignment.num_ranks,
        ),
        resolved=resolved,
        folder=folder,
        excluded=frozenset(definition.excluded),
        device=definition.device,
        target=assignment.target,
    )


def limit_threads(num_threads: int) -> None:
    """Set what OpenMP reads when a worker starts; passive waiting keeps threads from spinning on a
    shared core."""
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
