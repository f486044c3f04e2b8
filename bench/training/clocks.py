"""Where a run's time goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

TrainPhase = Literal["data", "augment", "forward", "loss", "backward", "optimizer", "device"]
"""Parts of a training step; `data` is the wait for a batch of features. A GPU works on while the
host goes ahead: there the first six are the host's time alone, and `device` the wait for what was
begun."""
Phase = TrainPhase | Literal["evaluation", "report", "checkpoint"]

COMPUTED = "computed"
"""Beside the phases: what training steps computed for, see Clocks.computed."""


class Clocks:
    """Seconds by phase, added up in a dict that outlives the process inside a checkpoint."""

    def __init__(self, seconds: dict[str, float], device: torch.device) -> None:
        """Count on from `seconds`, in place, in a process that computes on `device`."""
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
        """Seconds that training steps computed for so far: CPU seconds where that is the device,
        else wall seconds. Other processes on the machine add nothing to CPU seconds, so a cap on
        them ends a run at the same step on a busy machine."""
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
    """A clock that stands still while the process does not compute, as far as the system can tell.

    On a CPU it counts the seconds in which the calling thread has a core. Of several threads it
    counts their mean, and so those of the whole process: kernel.c computes in threads of its own
    while the calling one waits. On a GPU it counts wall seconds: the host's wait for the device is
    among them, and the host's own work overlaps with the device's.
    """
    if device.type != "cpu":
        return time.perf_counter
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        return time.thread_time
    return lambda: time.process_time() / num_threads
