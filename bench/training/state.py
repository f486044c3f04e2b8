"""The state of the training loop, and reading the losses that accumulate on the device."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from bench.data.batches import Dataset
from bench.training.clocks import Clocks

MAX_NONFINITE_STREAK = 10
"""A run has diverged after this many skipped steps in a row."""

CURVES = ("train/loss", "train/grad_norm", "train/consistency")
"""Metrics of columns 1, 2, … of the window; the last only with a consistency loss."""

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class LoopState:
    """The state of a run besides weights, their average and the optimizer; part of a checkpoint."""

    step: int = 0
    """Batches done, those of skipped steps included."""
    epoch: int = 0
    """Complete epochs done."""
    batch: int = 0
    """Batches done of the current epoch."""
    window: list[Tensor] = field(default_factory=list)
    """One tensor [3] or [4] for each step since the last report, on the device, not yet read: the
    largest magnitude of the buffers, the loss, the gradient's norm and, with a consistency loss,
    that loss. A step with a value that is not finite was skipped."""
    audio_seconds: float = 0.0
    """Audio of the batches done, those of skipped steps included."""
    seconds: dict[str, float] = field(default_factory=dict)
    """See Clocks."""
    reported_audio_seconds: float = 0.0
    """`audio_seconds` at the last report."""
    reported_train_seconds: float = 0.0
    num_nonfinite: int = 0
    """Steps skipped."""
    nonfinite_streak: int = 0
    """Steps skipped in a row up to the last report."""
    best: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    final: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    num_micro_batches: int = 1
    """Parts in which a batch goes through the network."""
    outcome: Literal["finished", "cut", "diverged"] | None = None


def read_window(
    state: LoopState, clocks: Clocks, dataset: Dataset, order_of: Callable[..., list[list[int]]]
) -> dict[str, float]:
    """The metrics of the steps in the window, means over those that were not skipped; empties the
    window. This is the one place where the host waits for the device.

    Logs each skipped step with its batch, for which ``order_of(epoch=…)`` gives an epoch's batches.
    After MAX_NONFINITE_STREAK skipped steps in a row it sets `state.outcome` to "diverged".
    """
    with clocks("device"):
        rows = torch.stack(state.window).tolist()
    state.window = []
    finite = []
    # All steps of the window are of one epoch, since it is read at the end of each.
    for place, row in enumerate(rows, start=state.batch - len(rows)):
        if all(map(math.isfinite, row)):
            finite.append(row)
            state.nonfinite_streak = 0
            continue
        state.num_nonfinite += 1
        state.nonfinite_streak += 1
        if state.nonfinite_streak == MAX_NONFINITE_STREAK:
            state.outcome = "diverged"
        # Steps count from 1 over the whole run; state.step - state.batch were taken before this
        # epoch.
        step = state.step - state.batch + place + 1
        ids = ", ".join(
            dataset.utterances[index].id for index in order_of(epoch=state.epoch)[place]
        )
        statistics, loss, norm, *_ = row
        shown = "" if math.isfinite(statistics) else f", running statistics {statistics:g}"
        message = "step %d is left out: loss %g, gradient norm %g%s; its batch: %s"
        _logger.warning(message, step, loss, norm, shown, ids)
    audio = state.audio_seconds - state.reported_audio_seconds
    speed = audio / (clocks.train - state.reported_train_seconds)
    state.reported_audio_seconds = state.audio_seconds
    state.reported_train_seconds = clocks.train
    metrics = {
        "train/num_nonfinite": float(state.num_nonfinite),
        "train/audio_seconds_per_second": speed,
        "train/audio_hours": state.audio_seconds / 3600,
    }
    # Without the column of the buffers; none at all if every step of the window was skipped.
    columns = list(zip(*finite, strict=True))[1:]
    return metrics | {name: fmean(column) for name, column in zip(CURVES, columns, strict=False)}
