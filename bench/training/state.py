"""What changes in a run besides weights and optimizer, and the losses that it has yet to read."""

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
"""A run has diverged after so many skipped steps in a row."""

CURVES = ("train/loss", "train/grad_norm", "train/consistency")
"""Metrics of the columns of the window after the first; the last is not always there."""

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class LoopState:
    """All that changes in a run besides weights, their average and optimizer, which a checkpoint
    holds too."""

    step: int = 0
    """Batches trained on, those left out as not finite included."""
    epoch: int = 0
    """Whole epochs done."""
    batch: int = 0
    """Batches done of the epoch after these."""
    window: list[Tensor] = field(default_factory=list)
    """Of each step since the last report, unread, on the device: the largest running statistic, the
    loss, the gradient's norm, and the consistency if it is trained for; [3] or [4]. A step with a
    value that is not finite was skipped."""
    audio_seconds: float = 0.0
    """In the batches trained on, those of skipped steps included."""
    seconds: dict[str, float] = field(default_factory=dict)
    """See Clocks."""
    reported_audio_seconds: float = 0.0
    """`audio_seconds` at the last report."""
    reported_train_seconds: float = 0.0
    num_nonfinite: int = 0
    """Steps skipped."""
    nonfinite_streak: int = 0
    """The steps just before the last report, all not finite."""
    best: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    final: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    num_micro_batches: int = 1
    """That a batch goes through the network in."""
    outcome: Literal["finished", "cut", "diverged"] | None = None


def read_window(
    state: LoopState, clocks: Clocks, dataset: Dataset, order_of: Callable[..., list[list[int]]]
) -> dict[str, float]:
    """Fetch and empty the window; count what was not finite in it, average the rest.

    ``order_of(epoch=…)`` gives an epoch's batches, to name one that was not finite.

    Sets the outcome where so many steps in a row were not finite that the run has diverged.
    """
    with clocks("device"):
        rows = torch.stack(state.window).tolist()
    state.window = []
    finite = []
    # The window never reaches back beyond the epoch, at whose end it is read.
    for place, row in enumerate(rows, start=state.batch - len(rows)):
        if all(map(math.isfinite, row)):
            finite.append(row)
            state.nonfinite_streak = 0
            continue
        state.num_nonfinite += 1
        state.nonfinite_streak += 1
        if state.nonfinite_streak == MAX_NONFINITE_STREAK:
            state.outcome = "diverged"
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
    columns = list(zip(*finite, strict=True))[1:]
    return metrics | {name: fmean(column) for name, column in zip(CURVES, columns, strict=False)}
