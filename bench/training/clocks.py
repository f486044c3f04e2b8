"""Where a run's time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

TrainPhase = Literal["data", "augment", "forward", "loss", "backward", "optimizer", "device"]
"""Parts of a training step; `data` is the wait for a batch of features. A GPU works on while the
host goes ahead: there the first six are the host's time alone, and `device` the wait for what was
begun."""
Phase = TrainPhase | Literal["evaluation", "report", "checkpoint"]


class Clocks:
    """Wall seconds by phase, added up in a dict that outlives the process inside a checkpoint."""

    def __init__(self, seconds: dict[str, float]) -> None:
        """Count on from `seconds`, in place."""
        self._seconds = seconds

    @contextmanager
    def __call__(self, phase: Phase) -> Iterator[None]:
        """Add the time inside the block to `phase`."""
        begun = time.perf_counter()
        yield
        self._seconds[phase] = self[phase] + time.perf_counter() - begun

    def __getitem__(self, phase: Phase) -> float:
        """Seconds of `phase` so far."""
        return self._seconds.get(phase, 0.0)

    @property
    def train(self) -> float:
        """Seconds of training steps so far."""
        return sum(self[phase] for phase in get_args(TrainPhase))

    @property
    def total(self) -> float:
        """Seconds of all phases so far."""
        return sum(self._seconds.values())
