"""The launcher of a study on one host: prepare everything, keep workers busy, stop when every slot
has ended."""

import logging
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from optuna.trial import TrialState
from rich.progress import Progress as Bars
from rich.progress import TaskID

from bench.core.console import progress_bars
from bench.core.errors import UserError
from bench.study.definition import StudyDefinition
from bench.study.queue import SlotQueue, best_slot, is_over, open_storage
from bench.study.run import is_recorded
from bench.study.worker import EXIT_START_AGAIN, Assignment, confirm_folder, limit_threads, work
from bench.tracking import TrackingTarget

POLL_SECONDS = 1.0
STOP_GRACE_SECONDS = 60.0
MAX_EARLY_DEATHS = 4

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How a host's cores are shared out."""

    count: int
    threads_each: int


@dataclass
class _Running:
    """One worker process and what it last said."""

    assignment: Assignment
    process: ForkServerProcess
    connection: Connection
    task: TaskID
    slot: int | None
    fraction: float = 0.0
    said: dict[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        slot = "" if self.slot is None else f" {self.slot}"
        return f"{self.assignment.system} {self.assignment.kind}{slot}"


class Launcher:
    """Runs the slots of a study with `workers` processes; `parents` are the tracking targets by
    system."""

    def __init__(
        self,
        folder: Path,
        definition: StudyDefinition,
        *,
        workers: Workers,
        storage_url: str | None,
        parents: dict[str, TrackingTarget],
    ) -> None:
        self._folder = folder
        self._definition = definition
        self._workers = workers
        self._storage_url = storage_url
        self._parents = parents
        storage = open_storage(storage_url, folder, num_workers=workers.count)
        self._queues = {s: SlotQueue(definition, s, folder, storage) for s in definition.systems}
        self._running: list[_Running] = []
        self._early_deaths = 0
        self._confirm_slots = range(definition.budget.num_seeds)
        self._context = multiprocessing.get_context("forkserver")

    @property
    def queues(self) -> dict[str, SlotQueue]:
        """The slots of each system."""
        return self._queues

    def run(self) -> None:
        """Return once every slot and every confirm run has ended.

        KeyboardInterrupt (Ctrl-C, or SIGTERM turned into it) stops the workers at their next step;
        what they did is kept.
        """
        for queue in self._queues.values():
            queue.prepare()
        limit_threads(self._workers.threads_each)
        self._context.set_forkserver_preload(["bench.study.worker", "bench.tracking.mirror"])
        with progress_bars() as bars:
            total = self._num_planned()
            overall = bars.add_task(self._definition.name, total=total)
            with self._stopping_workers():
                while True:
                    self._reap(bars)
                    self._start_what_waits(bars)
                    if not self._running and self._num_ended() >= total:
                        return
                    self._listen(bars)
                    total = self._num_planned()
                    done = self._num_ended() + sum(r.fraction for r in self._running)
                    bars.update(overall, completed=done, total=total)

    def _num_planned(self) -> int:
        budget = self._definition.budget
        confirms = 0
        for queue in self._queues.values():
            slots = queue.slots()
            hopeless = is_over(slots) and best_slot(slots) is None
            confirms += 0 if hopeless else len(self._confirm_slots)
        return budget.num_trials * len(self._queues) + confirms

    def _num_ended(self) -> int:
        ended = 0
        for system, queue in self._queues.items():
            ended += sum(slot.state.is_finished() for slot in queue.slots())
            ended += sum(self._is_confirmed(system, slot) for slot in self._confirm_slots)
        return ended

    def _is_confirmed(self, system: str, slot: int) -> bool:
        return is_recorded(confirm_folder(self._folder, system, slot))

    def _start_what_waits(self, bars: Bars) -> None:
        for queue in self._queues.values():
            if not is_over(queue.slots()):
                queue.reclaim()
        while len(self._running) < self._workers.count:
            waiting = next(self._waiting(), None)
            if waiting is None:
                return
            self._start(*waiting, bars)

    def _waiting(self) -> Iterator[tuple[str, str, int | None]]:
        """What could start now as (system, kind, slot), the system with the fewest workers
        first."""
        by_load = sorted(
            self._queues, key=lambda s: sum(r.assignment.system == s for r in self._running)
        )
        for system in by_load:
            slots = self._queues[system].slots()
            begun = [r for r in self._running if r.assignment.system == system]
            unclaimed = sum(r.assignment.kind == "trial" and r.slot is None for r in begun)
            if sum(s.state == TrialState.WAITING for s in slots) > unclaimed:
                yield system, "trial", None
            elif is_over(slots) and best_slot(slots) is not None:
                busy = {r.slot for r in begun if r.assignment.kind == "confirm"}
                for slot in self._confirm_slots:
                    if slot not in busy and not self._is_confirmed(system, slot):
                        yield system, "confirm", slot

    def _start(self, system: str, kind: str, slot: int | None, bars: Bars) -> None:
        here, there = self._context.Pipe(duplex=False)
        assignment = Assignment(
            folder=self._folder,
            system=system,
            kind=kind,
            slot=slot,
            storage_url=self._storage_url,
            num_workers=self._workers.count,
            num_threads=self._workers.threads_each,
            target=self._parents[system],
        )
        process = self._context.Process(target=work, args=(assignment, there))
        process.start()
        there.close()
        task = bars.add_task(f"  {system} {kind}", total=1.0)
        self._running.append(_Running(assignment, process, here, task, slot))

    def _listen(self, bars: Bars) -> None:
        """Take in what workers say, for at most POLL_SECONDS."""
        ends = [r.connection for r in self._running] + [r.process.sentinel for r in self._running]
        ready = set(wait(ends, timeout=POLL_SECONDS))
        for running in self._running:
            if running.connection not in ready:
                continue
            while _has_message(running.connection):
                try:
                    self._hear(running, running.connection.recv(), bars)
                except EOFError:
                    break
        # A worker that has closed its end but not ended yet would keep us spinning.
        time.sleep(0.05)

    def _hear(self, running: _Running, message: dict[str, object], bars: Bars) -> None:
        running.said.update(message)
        if "unwritable" in message:
            # Every other worker would meet the full disk too.
            raise UserError(str(message["unwritable"]))
        slot, fraction, wer = message.get("slot"), message.get("fraction"), message.get("wer")
        if isinstance(slot, int):
            running.slot = slot
            _logger.info("%s begins", running.label)
        if isinstance(fraction, float):
            running.fraction = min(fraction, 1.0)
        if isinstance(wer, float):
            _logger.debug("%s epoch %.0f WER %.1f %%", running.label, message["epoch"], 100 * wer)
            bars.update(running.task, description=f"  {running.label} WER {100 * wer:.1f} %")
        bars.update(running.task, completed=running.fraction)

    def _reap(self, bars: Bars) -> None:
        for running in [r for r in self._running if not r.process.is_alive()]:
            self._running.remove(running)
            bars.remove_task(running.task)
            running.process.join()
            running.connection.close()
            self._tell_end(running)
            early = not running.said and running.process.exitcode not in (0, EXIT_START_AGAIN)
            self._early_deaths = self._early_deaths + 1 if early else 0
            if self._early_deaths >= MAX_EARLY_DEATHS:
                raise RuntimeError(f"{MAX_EARLY_DEATHS} workers in a row died before they began")

    def _tell_end(self, running: _Running) -> None:
        wer = running.said.get("wer")
        shown = f"last valid WER {100 * wer:.1f} %" if isinstance(wer, float) else "no WER yet"
        if "failed" in running.said:
            _logger.warning("%s failed: %s", running.label, running.said["failed"])
        elif running.process.exitcode == 0:
            _logger.info("%s ended, %s", running.label, shown)
        else:
            code = running.process.exitcode
            _logger.warning(
                "%s: its worker ended with %s; it will be tried again", running.label, code
            )

    @contextmanager
    def _stopping_workers(self) -> Iterator[None]:
        """However the block ends, no worker outlives it."""
        try:
            yield
        finally:
            for running in self._running:
                running.process.terminate()
            deadline = time.monotonic() + STOP_GRACE_SECONDS
            for running in self._running:
                running.process.join(max(0.0, deadline - time.monotonic()))
                if running.process.is_alive():
                    running.process.kill()
                    running.process.join()
            self._running.clear()
            for queue in self._queues.values():
                queue.reclaim()


def _has_message(connection: Connection) -> bool:
    try:
        return connection.poll()
    except OSError:
        return False
