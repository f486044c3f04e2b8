"""The launcher of a study: keep workers busy, stop when every slot has ended.

Several may run at once, in other terminals or on other machines: each starts workers for what
waits, and each ends when all has ended.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import Progress as Bars
from rich.progress import TaskID

from bench.core.cli import EXIT_START_AGAIN
from bench.core.console import progress_bars
from bench.core.errors import OutOfHostMemoryError, UserError
from bench.core.memory import address_space_limit, num_killed
from bench.queue.lease import FILE as LEASE
from bench.queue.lease import LeaseWatch
from bench.queue.slots import SlotQueue
from bench.queue.storage import QueueStorage
from bench.runs import RunRecord, TrackingTarget, flush_unsent
from bench.runs.state import State, has_ended, read_state
from bench.study.definition import StudyDefinition
from bench.study.rounds import confirm_seeds, read_looks
from bench.workers.engine import Engine, Worker
from bench.workers.snapshot import StudySnapshot, SystemSnapshot
from bench.workers.worker import Assignment

POLL_SECONDS = 1.0
STOP_GRACE_SECONDS, STOP_POLL_SECONDS = 60.0, 0.05
MAX_EARLY_DEATHS = 4

_logger = logging.getLogger(__name__)


@dataclass
class _Running:
    """One worker and what it last reported."""

    assignment: Assignment
    worker: Worker
    task: TaskID
    slot: int | None
    fraction: float = 0.0
    said: dict[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        slot = "" if self.slot is None else f" {self.slot}"
        return f"{self.assignment.system} {self.assignment.kind}{slot}"


class Launcher:
    """Runs the slots of a study with the workers of `engine`, beside other launchers of the same
    study; `parents` are the tracking targets by system."""

    def __init__(
        self,
        folder: Path,
        definition: StudyDefinition,
        storage: QueueStorage,
        engine: Engine,
        *,
        storage_url: str | None,
        grace_seconds: float,
        parents: Mapping[str, TrackingTarget],
    ) -> None:
        self._folder = folder
        self._definition = definition
        self._engine = engine
        self._storage_url = storage_url
        self._grace_seconds = grace_seconds
        self._parents = parents
        self._queues = {s: SlotQueue(definition, s, folder, storage) for s in definition.systems}
        self._watch = LeaseWatch()
        self._running: list[_Running] = []
        self._confirmed: set[Path] = set()
        """Confirm runs that have ended."""
        self._named: set[Path] = set()
        """Runs whose suspended holder was named in a warning."""
        self._early_deaths = 0
        self._num_killed = num_killed()
        self._num_confirms: Mapping[str, int] = {}
        """By system, of this round."""

    def run(self, check_stop: Callable[[], None] = lambda: None) -> None:
        """Return once every slot and every confirm run of this round has ended.

        `check_stop` is called every second or so, and raises to stop.

        Any exception, Ctrl-C among them, stops our workers at their next step; what they did is
        kept.

        Raises:
            TemporaryError: the database of the queue is gone, or a suspended process of another
                launcher holds what is left.
            UserError: the disk is full, or there is no memory left; the same command goes on.
        """
        self._num_confirms = confirm_seeds(self._definition, read_looks(self._folder))
        for queue in self._queues.values():
            queue.prepare()
        with progress_bars() as bars, self._stopping_workers():
            study = self._look()
            overall = bars.add_task(self._definition.name, total=study.num_planned)
            while True:
                check_stop()
                # A worker that has ended changes what may start; else others' progress is looked
                # for.
                if self._reap(bars) or time.monotonic() - study.seen_at >= POLL_SECONDS:
                    study = self._look()
                self._start_what_waits(study, bars)
                if not self._running:
                    # Nothing to start and not all ended: workers of other launchers have the rest.
                    if study.num_ended >= study.num_planned:
                        return
                    if next(self._waiting(study), None) is None:
                        self._check_holders()
                self._listen(bars)
                running = sum(r.fraction for r in self._running)
                done = study.num_ended + study.paused_share + running
                bars.update(overall, completed=done, total=study.num_planned)

    def has_company(self) -> bool:
        """True if workers of another launcher hold runs of the study."""
        return any(self._watch.is_held(folder) for folder in self._leased())

    def _look(self) -> StudySnapshot:
        """The study at this moment: one read of each system's queue, and a second one only where a
        worker is gone."""
        seen_at, leased = time.monotonic(), self._leased()
        held = {folder for folder in leased if self._watch.is_held(folder)}
        # A run's folder is runs/SYSTEM/RUN, so these are folders of systems.
        gone = {folder.parent for folder in leased - held}
        systems = {}
        for system, queue in self._queues.items():
            slots = queue.slots()
            resting = queue.resting(slots)
            at_work = [s for s in slots if s.is_running and s not in resting]
            trials = {queue.folder_of("trial", s.number) for s in at_work}
            # A trial that runs without a lease, or a lease without a holder (a confirm run's, too):
            # only then is the queue's lock taken.
            if trials - held or queue.folder_of("trial", 0).parent in gone:
                if queue.reclaim(self._watch):
                    self._send_ends()
                slots = queue.slots()
                resting = queue.resting(slots)
            slots_of_round = range(self._num_confirms[system])
            confirms = {slot: queue.folder_of("confirm", slot) for slot in slots_of_round}
            unread = set(confirms.values()) - self._confirmed
            self._confirmed |= {folder for folder in unread if has_ended(folder)}
            systems[system] = SystemSnapshot(
                slots=slots,
                confirmed=frozenset(s for s, f in confirms.items() if f in self._confirmed),
                unclaimed_confirms=tuple(
                    s for s, f in confirms.items() if f not in self._confirmed | held
                ),
                num_confirms=len(confirms),
                paused_share=sum(s.rung for s in resting) / self._definition.budget.search_epochs,
            )
        self._end_frozen_workers(held)
        return StudySnapshot(systems=systems, seen_at=seen_at)

    def _send_ends(self) -> None:
        """Tell MLflow of trials that were ended without a process of their own, while others
        train."""
        # In a thread, as a server that does not answer must not keep workers from starting. What it
        # misses is sent at the end of the sweep.
        sending = threading.Thread(target=flush_unsent, args=(self._folder,), daemon=True)
        sending.start()

    def _leased(self) -> set[Path]:
        """The runs with a lease, of a living worker or a dead one."""
        return {lease.parent for lease in self._folder.glob(f"runs/*/*/{LEASE}")}

    def _end_frozen_workers(self, held: set[Path]) -> None:
        """Kill own workers that stand still, so that their runs are resumed; name others."""
        ours = {self._folder_of(running): running for running in self._running}
        for folder in held:
            if not self._watch.is_standing_still(folder):
                self._named.discard(folder)
            elif (running := ours.get(folder)) is not None:
                _logger.warning("%s: its worker stands still; ended", running.label)
                running.worker.end_frozen()
            elif folder not in self._named:
                self._named.add(folder)
                _logger.warning(
                    "%s waits for %s, which stands still; let it go on (kill -CONT, or fg in its "
                    "terminal) or end it",
                    folder,
                    self._watch.holder_of(folder),
                )

    def _check_holders(self) -> None:
        """Return unless all remaining runs are held by suspended processes.

        Raises:
            TemporaryError: all of it is held by processes of this machine that stand still.
        """
        held = [folder for folder in self._leased() if self._watch.is_held(folder)]
        if held and all(self._watch.is_standing_still(folder) for folder in held):
            self._watch.check_holder(held[0])

    def _start_what_waits(self, study: StudySnapshot, bars: Bars) -> None:
        while len(self._running) < self._engine.num_workers:
            waiting = next(self._waiting(study), None)
            if waiting is None or not self._start(*waiting, bars):
                return

    def _waiting(self, study: StudySnapshot) -> Iterator[tuple[str, str, int | None]]:
        """The work that could start now as (system, kind, slot), the system with the fewest workers
        first."""
        by_load = sorted(
            self._queues, key=lambda s: sum(r.assignment.system == s for r in self._running)
        )
        for system in by_load:
            seen = study.systems[system]
            begun = [r for r in self._running if r.assignment.system == system]
            trials = [r.slot for r in begun if r.assignment.kind == "trial"]
            # Workers without a reported slot, and those whose slot still waits in the snapshot.
            #
            #     slots as the queue was read   0 running   1 waiting   2 waiting   3 waiting
            #     own workers                   has 0       has 1       not told
            #     claimed                                   1        +  1              of 3 waiting
            claimed = trials.count(None) + len(seen.waiting.intersection(trials))
            if len(seen.waiting) > claimed:
                yield system, "trial", None
            elif seen.is_confirming:
                busy = {r.slot for r in begun if r.assignment.kind == "confirm"}
                for slot in seen.unclaimed_confirms:
                    if slot not in busy:
                        yield system, "confirm", slot

    def _start(self, system: str, kind: str, slot: int | None, bars: Bars) -> bool:
        """Start a worker, if there is room for one."""
        assignment = Assignment(
            folder=self._folder,
            system=system,
            kind=kind,
            slot=slot,
            storage_url=self._storage_url,
            num_workers=self._engine.num_workers,
            num_threads=self._engine.num_threads,
            num_ranks=self._engine.num_ranks,
            grace_seconds=self._grace_seconds,
            target=self._parents[system],
        )
        worker = self._engine.start(assignment)
        if worker is None:
            return False
        task = bars.add_task(f"  {system} {kind}", total=1.0)
        self._running.append(_Running(assignment, worker, task, slot))
        return True

    def _listen(self, bars: Bars) -> None:
        """Receive what workers report, for at most POLL_SECONDS."""
        self._engine.wait([running.worker for running in self._running], POLL_SECONDS)
        for running in self._running:
            for message in running.worker.messages():
                self._hear(running, message, bars)

    def _hear(self, running: _Running, message: dict[str, object], bars: Bars) -> None:
        running.said.update(message)
        if "exhausted" in message:
            # Every other worker would meet the full disk, or the lack of memory, too.
            raise UserError(str(message["exhausted"]))
        slot, fraction, wer = message.get("slot"), message.get("fraction"), message.get("wer")
        if isinstance(slot, int):
            running.slot = slot
            _logger.info("%s %s", running.label, "begins" if message["is_new"] else "goes on")
        if isinstance(fraction, float):
            running.fraction = min(fraction, 1.0)
        if isinstance(wer, float):
            _logger.debug("%s epoch %.0f WER %.1f %%", running.label, message["epoch"], 100 * wer)
            bars.update(running.task, description=f"  {running.label} WER {100 * wer:.1f} %")
        bars.update(running.task, completed=running.fraction)

    def _folder_of(self, running: _Running) -> Path | None:
        """The folder of a worker's run; None before the worker has reported it."""
        if running.slot is None:
            return None
        assignment = running.assignment
        return self._queues[assignment.system].folder_of(assignment.kind, running.slot)

    def _reap(self, bars: Bars) -> bool:
        """Remove the workers that have ended; True if there were any."""
        ended = [r for r in self._running if r.worker.exit_code is not None]
        for running in ended:
            for message in running.worker.messages():
                self._hear(running, message, bars)
            self._running.remove(running)
            bars.remove_task(running.task)
            self._tell_end(running)
            running.worker.close()
            self._check_memory(running)
            # It ended unasked and before it had said a word, so its run is not to blame. Started
            # again at once, such workers would die for ever.
            early = not running.said and running.worker.exit_code not in (0, EXIT_START_AGAIN)
            self._early_deaths = self._early_deaths + 1 if early else 0
            if self._early_deaths >= MAX_EARLY_DEATHS:
                raise RuntimeError(f"{MAX_EARLY_DEATHS} workers in a row died before they began")
        return bool(ended)

    def _check_memory(self, running: _Running) -> None:
        """Stop where a worker died under a limit that is the likely reason; its run, if it had
        begun one, keeps its number of attempts.

        Raises:
            OutOfHostMemoryError: it died, and the kernel has killed a process for want of memory
                or ``ulimit -v`` leaves little.
        """
        if running.worker.exit_code in (0, EXIT_START_AGAIN):
            return
        # The kernel's count is of the whole machine: any process killed since this launcher began
        # means that memory is short, whoever took it.
        limit = address_space_limit()
        if num_killed() > self._num_killed:
            why = "the kernel killed it"
        elif limit is not None:
            why = f"ulimit -v allows {limit // 1024:,} kB"
        else:
            return
        folder = self._folder_of(running)
        if folder is not None and read_state(folder) == State.RUNNING:
            RunRecord(folder).close(State.KILLED, {})
        raise OutOfHostMemoryError(f"{running.label}: its worker died, {why}")

    def _tell_end(self, running: _Running) -> None:
        if not running.said and running.worker.exit_code == 0:
            return  # a worker of another launcher was quicker
        wer = running.said.get("wer")
        shown = f"last valid WER {100 * wer:.1f} %" if isinstance(wer, float) else "no WER yet"
        if "failed" in running.said:
            _logger.warning("%s failed: %s", running.label, running.said["failed"])
        elif running.worker.exit_code == 0:
            what = f"waits at rung {running.said['rung']}" if "rung" in running.said else "ended"
            _logger.info("%s %s, %s", running.label, what, shown)
        else:
            code = running.worker.exit_code
            _logger.warning(
                "%s: its worker ended with %s; it will be tried again", running.label, code
            )

    @contextmanager
    def _stopping_workers(self) -> Iterator[None]:
        """Stop all workers when the block ends, also by an error."""
        try:
            yield
        finally:
            if self._running:
                _logger.info("%d workers stop at their next step", len(self._running))
            # All are asked before any is waited for: they stop side by side, within one grace.
            for running in self._running:
                running.worker.stop()
            deadline = time.monotonic() + STOP_GRACE_SECONDS
            for running in self._running:
                while running.worker.exit_code is None and time.monotonic() < deadline:
                    time.sleep(STOP_POLL_SECONDS)
                if running.worker.exit_code is None:
                    running.worker.kill()
                running.worker.close()
            self._running.clear()
