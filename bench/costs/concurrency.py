"""Child processes: how they are started, and how fast several of them train at once."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, resource_tracker
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import torch

from bench.core.config import updated
from bench.core.interrupt import kept_from_children
from bench.costs.data import network_and_excerpt
from bench.costs.interleaved import EMPTY_SLICE, Meter
from bench.data.batches import batches_from
from bench.data.utterance import Corpus
from bench.training.config import RunConfig
from bench.training.device import peak_memory_bytes, resolve_device
from bench.training.loop import train
from bench.training.progress import Progress

T = TypeVar("T")

CONTEXT = get_context("spawn")
"""A forked process would share this one's memory and locks."""

START_SECONDS = 300.0
"""Longest wait of a worker for the others' first training step."""


class Submit(Protocol):
    """Call a function in one of the child processes."""

    def __call__(self, function: Callable[..., T], /, *args: object) -> Future[T]:
        """Arguments and result are pickled."""


@contextmanager
def child_processes(count: int, prepare: Callable[..., None], *args: object) -> Iterator[Submit]:
    """Start `count` processes, each of which calls ``prepare(*args)`` first.

    They ignore Ctrl-C, so that only this process reports it; they end with the block, and are
    terminated if an exception ends it.
    """
    others = set(active_children())
    with ProcessPoolExecutor(count, CONTEXT, initializer=prepare, initargs=args) as pool:

        def submit(function: Callable[..., T], /, *args: object) -> Future[T]:
            # `pool.submit` starts processes, which inherit the blocked SIGINT. To start the
            # resource tracker unblocks SIGINT in this process, so it must be running before.
            resource_tracker.ensure_running()
            with kept_from_children():
                return pool.submit(function, *args)

        try:
            yield submit
        except BaseException:
            for child in set(active_children()) - others:
                child.terminate()
            raise


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What each worker trains; can be pickled."""

    config: RunConfig
    corpus: Corpus
    minutes: float
    """Training audio, see `excerpt`."""
    seconds: float
    """Duration of the measurement, after the first step."""
    num_threads: int
    """Of each worker."""
    device: str
    """A torch device type."""


@dataclass(frozen=True, kw_only=True)
class ConcurrentTraining:
    """The result of several workers that trained at once."""

    audio_seconds_per_second: float
    """Sum over the workers."""
    peak_memory_bytes: int
    """Maximum over the workers, each over the lifetime of its process."""


def train_concurrently(
    job: TrainingJob, count: int, variables: Mapping[str, str] | None = None
) -> ConcurrentTraining:
    """Train `job` in each of `count` processes at the same time, with `variables` added to their
    environment, such as those of MPS.

    Raises:
        UserError: as `bench.training.loop.train`.
    """
    with workers_at_once(count, variables or {}) as submit:
        futures = [submit(_train, job) for _ in range(count)]
        results = [future.result() for future in futures]
    return ConcurrentTraining(
        audio_seconds_per_second=sum(result.audio_seconds_per_second for result in results),
        peak_memory_bytes=max(result.peak_memory_bytes for result in results),
    )


class _Window:
    """A report that measures for `seconds`, starting when every worker has done its first step.

    The first step is excluded: it allocates memory, and workers start at different times.
    """

    def __init__(self, meter: Meter, seconds: float) -> None:
        self._meter, self._seconds = meter, seconds
        self._begun: float | None = None
        self.slice = EMPTY_SLICE

    def __call__(self, progress: Progress) -> bool:
        since_last = self._meter(progress)
        if self._begun is None:
            wait_for_others()
            self._begun = time.perf_counter()
            return False
        self.slice += since_last
        return time.perf_counter() - self._begun >= self._seconds


_barrier: Barrier | None = None
"""In a worker: shared with the other workers of its pool."""


def workers_at_once(count: int, variables: Mapping[str, str]) -> AbstractContextManager[Submit]:
    """`count` child processes that can `wait_for_others`, with `variables` added to their
    environment."""
    return child_processes(count, _prepare_worker, CONTEXT.Barrier(count), dict(variables))


def wait_for_others() -> None:
    """In such a process: return when all have called this; elsewhere at once."""
    if _barrier is not None:
        _barrier.wait(START_SECONDS)


def _prepare_worker(barrier: Barrier, variables: dict[str, str]) -> None:
    global _barrier
    _barrier = barrier
    os.environ.update(variables)


def _train(job: TrainingJob) -> ConcurrentTraining:
    """The result of one worker."""
    torch.set_num_threads(job.num_threads)
    device = resolve_device(job.device)
    # A report at every step ends the window at most one step late.
    config = updated(job.config, {"training.log_every_steps": 1})
    model, data = network_and_excerpt(config, job.corpus, job.minutes)
    order = batches_from(data.train, config.batches, seed=config.seed)
    window = _Window(Meter(data.train.seconds_of(batch) for batch in order), job.seconds)
    with TemporaryDirectory() as folder:
        train(config, model, data, device=device, directory=Path(folder), report=window)
    return ConcurrentTraining(
        audio_seconds_per_second=window.slice.rate, peak_memory_bytes=_peak_memory_bytes(device)
    )


def _peak_memory_bytes(device: torch.device) -> int:
    """As `bench.training.device.peak_memory_bytes`, of this process alone.

    On Linux the maximum that `getrusage` reports is inherited from the parent of a spawned process,
    which is large here; VmHWM is not.
    """
    if device.type == "cpu" and sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes(device)
