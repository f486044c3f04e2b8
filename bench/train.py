"""Train one variant once, and print its transcripts of a watch utterance during training."""

from bench.core import cli
from bench.flags.train import build_parser

if __name__ == "__main__":
    cli.start("train", build_parser())  # before the imports below: they take seconds

import argparse
import logging
import math
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import torch
from rich.progress import Progress as Bars
from rich.progress import TaskID

from bench.core.config import Resolved, digest
from bench.core.console import STDOUT, counting, progress_bars
from bench.core.cores import num_cores
from bench.core.errors import NoVerdictError, TemporaryError, UserError
from bench.core.files import exclusive_lock
from bench.core.gpus import choose, groups_of
from bench.core.paths import SINGLE_RUNS
from bench.data.corpora import load_corpus, require_splits
from bench.queue.lease import GRACE_SECONDS, Lease, LeaseWatch
from bench.queue.storage import LOCK
from bench.runs import RunIdentity, StudyTracker, TrackingTarget, flush_unsent, tracking_uri
from bench.runs.layout import BEST
from bench.runs.run import RunPlan, attempts_so_far, datasets, execute_run
from bench.runs.state import State
from bench.study.request import single_run_of
from bench.training.config import RunConfig, check_training_memory
from bench.training.device import resolve_device
from bench.training.progress import Progress

_logger = logging.getLogger("bench.train")  # run with -m, __name__ is "__main__"


class _Watcher:
    """Shows truth and prediction of the watch utterances at each evaluation; returns KILLED once
    the user wants to stop."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task
        self.stopped_by: int | None = None
        """The signal that asked to stop, if any."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(signum, self._stop)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        if self.stopped_by is not None:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return  # a scheduler may send SIGTERM several times
        self.stopped_by = signum
        _logger.warning("stopping after this step; run the same command again to go on")

    def __call__(self, progress: Progress) -> State | None:
        self._bars.update(self._task, completed=progress.epoch, total=progress.num_epochs)
        if progress.evaluated:
            _logger.info("epoch %.0f: %s", progress.epoch, _told(progress.metrics))
            for transcript in progress.watch[:1]:
                _logger.info("  truth:      %s", transcript.ref)
                _logger.info("  prediction: %s", transcript.hyp)
        return None if self.stopped_by is None else State.KILLED


def _told(metrics: Mapping[str, float]) -> str:
    if "valid/wer" not in metrics:
        return f"training loss {metrics.get('train/loss', math.nan):.3f} (there is no valid split)"
    loss, wer, cer = (metrics[f"valid/{name}"] for name in ("loss", "wer", "cer"))
    return f"valid loss {loss:.3f}, WER {100 * wer:.1f} %, CER {100 * cer:.1f} %"


def main(options: argparse.Namespace) -> None:
    """Train the run that `options` describe, or resume it."""
    resolved = single_run_of(options)
    config = resolved.config
    tracking_uri()  # refused here, before hours of work, if it is no address
    device = resolve_device(options.device).type
    check_training_memory(config, device)
    if options.num_ranks > 1:
        if device == "cuda":
            groups_of(choose([]), options.num_ranks)  # refused here, as above
        torch.set_num_threads(max(1, num_cores() // options.num_ranks))
    with counting(f"corpus {config.corpus.title}") as progress:
        corpus = load_corpus(config.corpus, progress=progress)
    require_splits(corpus, ("train",), "training")
    name = f"{config.variant}.{corpus.name}.{digest(config)[:8]}"
    folder = SINGLE_RUNS / name
    with _lease_on(folder) as lease:
        with counting("features") as progress:
            datasets(corpus, config, (), progress)
        tracker = StudyTracker.open(SINGLE_RUNS.name, data_digest=corpus.digest)
        if tracker.reaches_store():
            flush_unsent(SINGLE_RUNS)
        plan = _plan(folder, resolved, corpus.digest, device, tracker.target, options.num_ranks)
        with progress_bars() as bars:
            watcher = _Watcher(bars, bars.add_task(name, total=None))
            end = execute_run(plan, watcher, check_lease=lease.check)
    if end.state == State.KILLED:
        if watcher.stopped_by == signal.SIGTERM:
            raise TemporaryError("stopped by SIGTERM; the same command goes on from there")
        raise KeyboardInterrupt
    best = folder / BEST
    checkpoint = str(best) if best.exists() else None
    wer = end.valid_wer
    result = {"state": end.state, "valid_wer": wer, "checkpoint": checkpoint}
    if options.json:
        cli.print_json({**result, "tracking_uri": tracker.tracking_uri})
    else:
        shown = "no WER" if wer is None else f"best valid WER {100 * wer:.2f} %"
        named = shlex.quote(checkpoint) if checkpoint else "no checkpoint"
        STDOUT.print(f"{end.state}: {shown}\n{named}", markup=False)
    if end.state == State.DIVERGED:
        raise NoVerdictError(
            f"the run diverged: its loss was not finite for too long; {folder} keeps its record, "
            "and a lower --set optim.learning_rate=… may help"
        )


def _lease_on(folder: Path) -> Lease:
    """The run in `folder`, taken before anything of it is read.

    Raises:
        UserError: another process has it.
    """
    watch = LeaseWatch()
    with exclusive_lock(SINGLE_RUNS / LOCK):
        lease = watch.take(folder, grace_seconds=GRACE_SECONDS)
    if lease is None:
        raise UserError(
            f"one process at a time trains a run, {folder} is held by {watch.holder_of(folder)}; "
            "wait for it, or close it by python -m bench.reap if its machine is gone"
        )
    return lease


def _plan(
    folder: Path,
    resolved: Resolved[RunConfig],
    data_digest: str,
    device: str,
    target: TrackingTarget,
    num_ranks: int,
) -> RunPlan:
    return RunPlan(
        identity=RunIdentity(
            study=SINGLE_RUNS.name,
            system=resolved.config.variant,
            kind="train",
            slot=0,
            attempt=attempts_so_far(folder) + 1,
            seed=resolved.config.seed,
            params={},
            data_digest=data_digest,
            num_ranks=num_ranks,
        ),
        resolved=resolved,
        folder=folder,
        excluded=frozenset(),
        device=device,
        target=target,
    )
