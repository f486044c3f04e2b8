"""Few shapes with little padding, for the lengths of real corpora."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.data.batches import BatchConfig, epoch_order
from bench.training.shapes import MAX_SHAPES, NUM_SAMPLED_BATCHES, Shape, Shapes, divide

LENGTHS = {
    "spoken": (4_000, lambda rng, n: rng.normal(260, 60, n).clip(90, 520)),
    "an4": (900, lambda rng, n: np.exp(rng.normal(np.log(270), 0.5, n)).clip(60, 640)),
    # Most of LibriSpeech is cut to 11 to 16.5 s, with a tail of shorter utterances.
    "librispeech": (
        20_000,
        lambda rng, n: np.where(rng.random(n) < 0.7, rng.normal(1_450, 130, n), rng.uniform(200, 1_400, n)).clip(140, 1_700),
    ),
}  # fmt: skip
"""Utterances, and frames of 10 ms of each."""


class Lengths:
    """What `epoch_order` reads of a dataset."""

    def __init__(self, frames: np.ndarray) -> None:
        self.num_frames = frames.astype(np.int64)
        self.store = type("Store", (), {"config": type("Config", (), {"frames_per_second": 100.0})})

    def __len__(self) -> int:
        return len(self.num_frames)


def extents(dataset: Any, config: BatchConfig, epochs: range) -> list[Shape]:
    found = []
    for epoch in epochs:
        for batch in epoch_order(dataset, config, seed=0, epoch=epoch):
            longest = int(dataset.num_frames[batch].max())
            found.append(
                Shape(num_utterances=len(batch), num_input_frames=longest, num_frames=longest, num_labels=longest // 8)
            )  # fmt: skip
    return found


@pytest.mark.parametrize("batch_seconds", [60.0, 200.0])
@pytest.mark.parametrize("name", LENGTHS)
def test_padding_and_number_for_real_lengths(name: str, batch_seconds: float) -> None:
    """Of epochs that were not looked at."""
    count, draw = LENGTHS[name]
    dataset = Lengths(draw(np.random.default_rng(0), count))
    config = BatchConfig(batch_seconds=batch_seconds)
    num_epochs = -(-NUM_SAMPLED_BATCHES // len(extents(dataset, config, range(1))))
    shapes = divide(extents(dataset, config, range(num_epochs)))
    assert len(shapes.all) < 20
    fresh = extents(dataset, config, range(num_epochs, num_epochs + 4))
    fitting = [
        (extent, shape) for extent in fresh if (shape := shapes.smallest(extent)) is not None
    ]
    assert len(fitting) >= 0.95 * len(fresh)
    added = 1 - sum(extent.cost for extent, _ in fitting) / sum(shape.cost for _, shape in fitting)
    print(name, batch_seconds, len(shapes.all), f"{added:.3f}", f"{len(fitting) / len(fresh):.3f}")
    assert added < 0.12


def test_the_division_is_the_best_one() -> None:
    """Against all divisions of a few batches."""
    lengths = [10, 12, 20, 21, 40]
    batches = [
        Shape(num_utterances=100 // n, num_input_frames=n, num_frames=n, num_labels=3) for n in lengths
    ]  # fmt: skip
    found = divide(batches, most=2)
    costs = []
    for cut in range(1, 5):
        groups = (batches[:cut], batches[cut:])
        costs.append(
            sum(
                len(g) * max(b.num_utterances for b in g) * max(b.num_frames for b in g)
                for g in groups
            )
        )
    paid = 0
    for batch in batches:
        shape = found.smallest(batch)
        assert shape is not None
        paid += shape.cost
    assert paid <= min(costs)
    assert len(divide(batches, most=9).all) == 5
    assert all(shape.num_labels == 32 for shape in found.all)


def test_what_fits_nowhere_has_no_shape() -> None:
    shape = Shape(num_utterances=2, num_input_frames=9, num_frames=9, num_labels=32)
    assert Shapes((shape,)).smallest(shape) is shape
    assert Shapes((shape,)).smallest(replace(shape, num_labels=33)) is None
    assert MAX_SHAPES < 20
