"""Runs in processes of their own: how cores are best shared out, and what memory a run takes."""

import sys
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.core.config import updated
from bench.costs.contest import NO_TURN, Meter, Turn
from bench.costs.excerpt import audio_seconds, network_and_excerpt
from bench.costs.processes import CONTEXT, processes
from bench.data.batches import batches_from
from bench.data.utterance import Corpus
from bench.training.config import RunConfig
from bench.training.device import peak_memory_bytes, resolve_device
from bench.training.loop import train
from bench.training.progress import Progress

START_SECONDS = 300.0
"""Longest wait of a worker until all others have trained their first batch."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker does; plain values, so that they cross to another process."""

    config: RunConfig
    corpus: Corpus
    minutes: float
    """See `excerpt`."""
    seconds: float
    """To train for, after the first batch."""
    num_threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class WorkerResult:
    """What a worker did."""

    turn: Turn
    peak_memory_bytes: int
    """Of its whole life."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """What several workers did at once."""

    audio_seconds_per_second: float
    """Of all together."""
    peak_memory_bytes: int
    """Of the one that took most."""


def train_at_once(job: Job, count: int) -> Workers:
    """Let `count` processes do `job`, each by itself, at the same time.

    Raises:
        UserError: as `bench.training.loop.train`.
    """
    with processes(count, _meet_at, CONTEXT.Barrier(count)) as submit:
        results = [found.result() for found in [submit(_train, job) for _ in range(count)]]
    return Workers(
        audio_seconds_per_second=sum(result.turn.rate for result in results),
        peak_memory_bytes=max(result.peak_memory_bytes for result in results),
    )


class _Window:
    """A report: begins to count after the first step, together with the other workers."""

    def __init__(self, meter: Meter, seconds: float) -> None:
        self._meter, self._seconds = meter, seconds
        self._begun: float | None = None
        self.turn = NO_TURN

    def __call__(self, progress: Progress) -> bool:
        turn = self._meter(progress)
        if self._begun is None:
            if _barrier is not None:
                _barrier.wait(START_SECONDS)
            self._begun = time.perf_counter()
            return False
        self.turn += turn
        return time.perf_counter() - self._begun >= self._seconds


_barrier: Barrier | None = None


def _meet_at(barrier: Barrier) -> None:
    """Where the workers of this process's pool wait for each other."""
    global _barrier
    _barrier = barrier


def _train(job: Job) -> WorkerResult:
    torch.set_num_threads(job.num_threads)
    device = resolve_device(job.device)
    # So that the time is over at the end of a step.
    config = updated(job.config, {"training.log_every_steps": 1})
    model, data = network_and_excerpt(config, job.corpus, job.minutes)
    order = batches_from(data.train, config.batches, seed=config.seed)
    window = _Window(Meter(audio_seconds(data.train, batch) for batch in order), job.seconds)
    with TemporaryDirectory() as folder:
        train(config, model, data, device=device, directory=Path(folder), report=window)
    return WorkerResult(turn=window.turn, peak_memory_bytes=_peak_memory_bytes(device))


def _peak_memory_bytes(device: torch.device) -> int:
    """As bench.training.device has it, but for this program alone.

    What `getrusage` says of a spawned process on Linux begins at the memory of the one that spawned
    it, which is large here.
    """
    if device.type == "cpu" and sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes(device)
