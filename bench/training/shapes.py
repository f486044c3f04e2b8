"""Few shapes: what batches are padded to, so that each shape's step is captured once and replayed.

Only padding is added; which utterances share a batch stays as it is. Batches are limited by seconds
of audio, so a batch of long utterances has few rows and one of short utterances has many: all lie
near one curve, rows times frames = constant. It is divided where that costs the least padding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.seeding import generator
from bench.data.augment import draw_lengths
from bench.data.batches import Dataset, epoch_order, min_ctc_frames
from bench.training.config import RunConfig

MAX_SHAPES = 18
"""Each takes the memory of one step while it is captured, and one slow step."""
LABEL_MULTIPLE = 32
NUM_SAMPLED_BATCHES = 400
"""Batches of the first epochs that are looked at; a later one that fits no shape runs unpadded."""
MAX_EDGES = 256
"""Lengths at which the curve may be divided."""

_Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The extent of a batch, or what batches are padded to."""

    num_utterances: int
    num_input_frames: int
    """Before the change of tempo."""
    num_frames: int
    """After it."""
    num_labels: int

    def holds(self, other: "Shape") -> bool:
        """True if a batch of extent `other` can be padded to this shape."""
        return all(getattr(self, name) >= value for name, value in vars(other).items())

    @property
    def cost(self) -> int:
        """Frames that the network computes."""
        return self.num_utterances * self.num_frames


@dataclass(frozen=True)
class Shapes:
    """The shapes of a run, the cheapest first."""

    all: tuple[Shape, ...]

    def smallest(self, extent: Shape) -> Shape | None:
        """The cheapest shape that holds a batch of `extent`, if any does."""
        return next((shape for shape in self.all if shape.holds(extent)), None)


def plan_shapes(
    dataset: Dataset, config: RunConfig, output_lengths: Callable[[Tensor], Tensor]
) -> Shapes:
    """The shapes of a run of `config`, from the batches of its first epochs."""
    extents: list[Shape] = []
    for epoch in range(config.training.num_epochs):
        extents += _extents(dataset, config, output_lengths, epoch)
        if len(extents) >= NUM_SAMPLED_BATCHES:
            break
    return divide(extents)


def divide(extents: Sequence[Shape], most: int = MAX_SHAPES) -> Shapes:
    """At most `most` shapes that hold batches of `extents` (at least one) with the least padding:
    an exact partition of the batches by length, by dynamic programming."""
    ordered = sorted(extents, key=lambda e: (e.num_frames, e.num_utterances))
    table = np.array([list(vars(extent).values()) for extent in ordered], np.int64)
    # Candidate places to divide, evenly spread over the sorted batches.
    ends = np.unique(np.linspace(0, len(table), min(MAX_EDGES, len(table)) + 1).astype(np.int64))
    costs = _group_costs(table, ends)
    num_edges = len(ends)
    # least[used, edge]: the fewest frames in which `used` shapes hold all batches before `edge`;
    # back[used, edge]: the edge at which the last of these shapes begins.
    #
    #     batches by length    . . . . | . . . . . . | . . . | . .
    #     shape                0         1             2       3      as long as its longest batch
    least = np.full((most + 1, num_edges), np.inf)
    least[:, 0] = 0.0
    back = np.zeros((most + 1, num_edges), np.int64)
    for used in range(1, most + 1):
        # least[used, j] = min over i of least[used - 1, i] + costs[i, j]: the last shape holds the
        # batches from edge i to edge j.
        totals = least[used - 1][:, None] + costs
        back[used], least[used] = totals.argmin(axis=0), totals.min(axis=0)
        least[used][0] = 0.0
    # From the last edge back to the first, along the choices made.
    shapes, last = set(), num_edges - 1
    for used in range(most, 0, -1):
        if last == 0:
            break
        first = int(back[used][last])
        rows, frames_in, frames, labels = table[ends[first] : ends[last]].max(axis=0).tolist()
        shapes.add(
            Shape(
                num_utterances=rows,
                num_input_frames=frames_in,
                num_frames=frames,
                num_labels=-(-labels // LABEL_MULTIPLE) * LABEL_MULTIPLE,
            )
        )
        last = first
    return Shapes(tuple(sorted(shapes, key=lambda shape: (shape.cost, shape.num_labels))))


def _group_costs(table: _Array, ends: _Array) -> npt.NDArray[np.float64]:
    """[i, j]: frames that the batches between edges i and j take in one shape; infinite if there
    are none."""
    num_edges = len(ends)
    costs = np.full((num_edges, num_edges), np.inf)
    for first in range(num_edges - 1):
        # A shape is as large as the largest row count and the largest frame count of its batches,
        # which accumulate while the group grows; each batch then takes that much.
        rows = np.maximum.accumulate(table[ends[first] :, 0])
        frames = np.maximum.accumulate(table[ends[first] :, 2])
        last = ends[first + 1 :] - ends[first] - 1
        costs[first, first + 1 :] = rows[last] * frames[last] * (last + 1.0)
    return costs


def _extents(
    dataset: Dataset,
    config: RunConfig,
    output_lengths: Callable[[Tensor], Tensor],
    epoch: int,
) -> list[Shape]:
    """The extents of the batches of one epoch."""
    labels = [dataset.labels(index) for index in range(len(dataset))]
    num_labels = np.array([len(row) for row in labels])
    needed = torch.tensor([min_ctc_frames(row) for row in labels])
    # Not the run's own draws, which a run that has begun elsewhere would draw at other steps.
    rng = generator(config.seed, "shapes", epoch)
    old_lens = torch.from_numpy(dataset.num_frames)
    new_lens = draw_lengths(old_lens, needed, config.augment, output_lengths, rng).numpy()
    return [
        Shape(
            num_utterances=len(batch),
            num_input_frames=int(dataset.num_frames[batch].max()),
            num_frames=int(max(new_lens[batch].max(), 1)),
            num_labels=int(num_labels[batch].max()),
        )
        for batch in epoch_order(dataset, config.batches, seed=config.seed, epoch=epoch)
    ]
