"""Close runs whose process has died and that no other process has resumed."""

from bench.core import cli
from bench.flags.reap import build_parser

if __name__ == "__main__":
    cli.start("reap", build_parser())  # before the imports below: they take seconds

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

from bench.core.console import STDOUT
from bench.core.files import exclusive_lock
from bench.core.paths import SINGLE_RUNS
from bench.queue.lease import GRACE_SECONDS, LeaseWatch
from bench.queue.slots import SlotQueue
from bench.queue.storage import LOCK, QueueStorage, is_queue_of
from bench.results.study import chosen_studies
from bench.runs import RunRecord, StudyTracker, flush_unsent
from bench.runs.layout import RUN
from bench.runs.state import State, read_state
from bench.study.definition import load

POLL_SECONDS = 0.5
Lock = Callable[[], AbstractContextManager[None]]

_logger = logging.getLogger("bench.reap")  # run with -m, __name__ is "__main__"


def main(options: argparse.Namespace) -> None:
    """Close dead runs in the records, in the queue and in MLflow."""
    folders = chosen_studies(options.study, "reap", may_be_none=SINGLE_RUNS.exists())
    watch = LeaseWatch()
    closed: list[Path] = []
    if not options.study:
        closed += _close(SINGLE_RUNS, watch, partial(exclusive_lock, SINGLE_RUNS / LOCK))
        flush_unsent(SINGLE_RUNS)
    deadline = time.monotonic() + options.wait
    for folder in folders:
        with _queue_of(folder, options.storage) as storage:
            lock = storage.exclusive_lock if storage else partial(exclusive_lock, folder / LOCK)
            closed += _close(folder, watch, lock)
            # A lease of another machine expires by this one's clock, so it has to be watched for a
            # while.
            while _held(folder, watch) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                closed += _close(folder, watch, lock)
            if not _held(folder, watch):
                _free(folder, storage, watch)
        flush_unsent(folder)
    held = {run: watch.holder_of(run) for folder in folders for run in _open(folder)}
    if options.json:
        cli.print_json({"closed": [str(run) for run in closed], "held": [str(run) for run in held]})
        return
    for run in closed:
        STDOUT.print(f"closed: {run}", markup=False)
    for run, holder in held.items():
        STDOUT.print(f"held: {run} by {holder}", markup=False)
    if held:
        STDOUT.print(
            "a run of another machine that stands still can be closed too: --wait 90; a process "
            "of this machine that stands still is let go on (kill -CONT) or ended first",
            markup=False,
        )
    STDOUT.print(f"{len(closed)} runs closed, {len(held)} held", markup=False)


def _open(folder: Path) -> list[Path]:
    """The runs below `folder` that have begun and not ended."""
    runs = [path.parent for path in sorted(folder.rglob(RUN))]
    return [run for run in runs if read_state(run) == State.RUNNING]


def _held(folder: Path, watch: LeaseWatch) -> list[Path]:
    """The runs below `folder` whose lease a living process holds."""
    return [run for run in _open(folder) if watch.is_held(run)]


def _close(folder: Path, watch: LeaseWatch, lock: Lock) -> Iterator[Path]:
    """Record each dead run as killed; a sweep resumes it nevertheless."""
    for run in _open(folder):
        with lock():
            lease = watch.take(run, grace_seconds=GRACE_SECONDS)
        if lease is None:
            continue
        with lease:  # so that no worker begins with it meanwhile
            if read_state(run) == State.RUNNING:
                RunRecord(run).close(State.KILLED, {})
                yield run


@contextmanager
def _queue_of(folder: Path, storage_url: str | None) -> Iterator[QueueStorage | None]:
    """The study's queue; None, after a warning, if `storage_url` is that of another queue."""
    if not is_queue_of(folder, storage_url):
        _logger.warning("%s: its queue is elsewhere; --storage names it", folder)
        yield None
        return
    with closing(QueueStorage(storage_url, folder, num_workers=1)) as storage:
        yield storage


def _free(folder: Path, storage: QueueStorage | None, watch: LeaseWatch) -> None:
    """Set the dead trials of a study to waiting, and close its sweeps in MLflow."""
    definition = load(folder)
    if storage is not None:
        for system in definition.systems:
            SlotQueue(definition, system, folder, storage).reclaim(watch)
    StudyTracker.open(definition.name, data_digest=definition.data_digest).stop_dead(
        definition.systems
    )
