"""Time measurement: the seconds that a run spends in each phase."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

TrainPhase = Literal[
    "data", "augment", "forward", "loss", "backward", "optimizer", "replay", "device"
]
"""Parts of a training step; `data` is the wait for a batch of features, `replay` a whole step that
was captured (bench.training.capture). CUDA kernels are asynchronous: on a GPU all but the last are
the host's time, and `device` is the wait for the kernels
that the host has launched."""
Phase = TrainPhase | Literal["evaluation", "report", "checkpoint"]

COMPUTED = "computed"
"""Key of the computing time of training steps beside the phases, see Clocks.computed."""


class Clocks:
    """Seconds by phase, added up in a dict that is part of the checkpoint."""

    def __init__(self, seconds: dict[str, float], device: torch.device) -> None:
        """Add to `seconds` in place, in a process that computes on `device`."""
        self._seconds = seconds
        self._computing = computing_clock(device)

    @contextmanager
    def __call__(self, phase: Phase) -> Iterator[None]:
        """Add the time inside the block to `phase`."""
        begun, computing_since = time.perf_counter(), self._computing()
        yield
        self._seconds[phase] = self[phase] + time.perf_counter() - begun
        if phase in get_args(TrainPhase):
            self._seconds[COMPUTED] = self.computed + self._computing() - computing_since

    def __getitem__(self, phase: Phase) -> float:
        """Wall seconds of `phase` so far."""
        return self._seconds.get(phase, 0.0)

    @property
    def computed(self) -> float:
        """Computing time of training steps so far: CPU seconds on a CPU, wall seconds on a GPU.
        Other processes on the machine add nothing to CPU seconds, so a cap on them ends a run at
        the same step on a busy machine."""
        return self._seconds.get(COMPUTED, 0.0)

    @property
    def train(self) -> float:
        """Wall seconds of training steps so far."""
        return sum(self[phase] for phase in get_args(TrainPhase))

    @property
    def total(self) -> float:
        """Wall seconds of all phases so far."""
        return sum(self.by_phase.values())

    @property
    def by_phase(self) -> dict[str, float]:
        """Wall seconds of each phase so far."""
        return {phase: value for phase, value in self._seconds.items() if phase != COMPUTED}


def computing_clock(device: torch.device) -> Callable[[], float]:
    """A clock of computing time, which stops while another process has the core.

    On a CPU with one thread: CPU seconds of the calling thread. With several: CPU seconds of the
    process divided by the number of threads, since kernel.c computes in threads of its own while
    the calling thread waits. On a GPU: wall seconds, since the host's work and its waiting overlap
    with the device's work.
    """
    if device.type != "cpu":
        return time.perf_counter
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        return time.thread_time
    return lambda: time.process_time() / num_threads
