"""bfloat16 against float32, by WER: the difference is within what seeds differ by."""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, variance
from typing import Any

import pytest
import torch

from bench.training.loop import TrainingData

MakeRun = Callable[..., Any]
SETTINGS = {
    "training.num_epochs": 6, "training.eval_every_epochs": 6, "model.width": 48, "model.dropout": 0.0,
    "augment.num_freq_masks": 0, "augment.num_time_masks": 0,
}  # fmt: skip
"""Half learned by heart: seeds differ."""


@pytest.mark.parametrize(
    ("device", "num_seeds"), [("cpu", 3), pytest.param("cuda", 8, marks=pytest.mark.cuda)]
)
def test_bfloat16_has_the_wer_of_float32(
    run: MakeRun, data: TrainingData, device: str, num_seeds: int
) -> None:
    """Means over seeds, within three standard errors of their difference."""
    wers: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    losses = set()
    for precision, found in wers.items():
        for seed in range(num_seeds):
            one = run(torch.device(device), seed=seed, **SETTINGS)
            one.data = replace(data, valid=data.train)
            final = one(precision=precision).final
            found.append(final["valid/wer"])
            losses.add(final["valid/loss"])
    print(device, {str(precision): found for precision, found in wers.items()})
    exact, rounded = wers.values()
    noise = math.sqrt((variance(exact) + variance(rounded)) / num_seeds)
    assert abs(fmean(exact) - fmean(rounded)) <= 3 * noise + 0.02
    assert len(losses) == 2 * num_seeds, "both were computed in one precision"
    assert fmean(exact) < 0.9
