"""Close the runs whose process died and was not followed by another."""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.core import cli
from bench.core.console import STDOUT
from bench.core.errors import UserError
from bench.core.paths import OUT, SINGLE_RUNS
from bench.study.definition import find_study, load, studies_newest_first
from bench.study.lease import GRACE_SECONDS, Lease, LeaseWatch
from bench.study.queue import SlotQueue
from bench.study.storage import QueueStorage, is_queue_of
from bench.tracking import RunRecord, StudyTracker, flush_unsent
from bench.tracking.record import RUN, SUMMARY

POLL_SECONDS = 0.5

_logger = logging.getLogger("bench.reap")  # run with -m, __name__ is "__main__"


def main(options: argparse.Namespace) -> None:
    """Close what died, in the records, in the queue and in MLflow."""
    folders = [find_study(name) for name in options.study] or studies_newest_first()
    if not (folders or SINGLE_RUNS.exists()):
        raise UserError(
            f"there is no study in {OUT}/ to reap; begin one with python -m bench.sweep"
        )
    watch = LeaseWatch()
    closed: list[Path] = [] if options.study else list(_close(SINGLE_RUNS, watch))
    if not options.study:
        flush_unsent(SINGLE_RUNS)
    deadline = time.monotonic() + options.wait
    for folder in folders:
        closed += _close(folder, watch)
        while any(watch.is_held(run) for run in _open(folder)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            closed += _close(folder, watch)
        if not any(watch.is_held(run) for run in _open(folder)):
            _free(folder, options.storage, watch)
        flush_unsent(folder)
    held = [run for folder in folders for run in _open(folder)]
    if options.json:
        cli.print_json({"closed": [str(run) for run in closed], "held": [str(run) for run in held]})
        return
    for run in closed:
        STDOUT.print(f"closed: {run}", markup=False)
    for run in held:
        STDOUT.print(f"at work: {run}", markup=False)
    if held:
        STDOUT.print("what stands still can be closed too: --wait 90", markup=False)
    STDOUT.print(f"{len(closed)} runs closed, {len(held)} at work", markup=False)


def _open(folder: Path) -> list[Path]:
    """The runs below `folder` that have begun and not ended."""
    runs = [path.parent for path in sorted(folder.rglob(RUN))]
    return [run for run in runs if not (run / SUMMARY).exists()]


def _close(folder: Path, watch: LeaseWatch) -> Iterator[Path]:
    """Record of each dead run that it was killed; a sweep goes on with it all the same."""
    for run in _open(folder):
        if watch.is_held(run):
            continue
        watch.break_(run)
        # So that no worker begins with it meanwhile.
        with Lease.take(run, grace_seconds=GRACE_SECONDS):
            if not (run / SUMMARY).exists():
                RunRecord(run).close("killed", {})
                yield run


def _free(folder: Path, storage_url: str | None, watch: LeaseWatch) -> None:
    """Let the dead trials of a study wait again, and close its sweeps in MLflow."""
    definition = load(folder)
    if is_queue_of(folder, storage_url):
        with closing(QueueStorage(storage_url, folder, num_workers=1)) as storage:
            for system in definition.systems:
                SlotQueue(definition, system, folder, storage).reclaim(watch)
    else:
        _logger.warning("%s: its queue is elsewhere; --storage names it", folder)
    StudyTracker.open(definition.name, data_digest=definition.data_digest).stop_dead(
        definition.systems
    )


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.reap`."""
    parser = cli.parser(
        "reap",
        "Close the runs whose process died and that nobody goes on with: killed in the records "
        "and in MLflow, waiting again in the queue. Running the sweep again does the same and "
        "goes on with them.",
        "",
        "STUDY --wait 90",
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    parser.add_argument("--storage", metavar="URL", help="of the queue, as for bench.sweep")
    parser.add_argument(
        "--wait",
        type=cli.real_number("--wait", least=0),
        default=0.0,
        metavar="SECONDS",
        help="watch runs of other machines, and frozen ones, for a sign of life (default: 0)",
    )
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
