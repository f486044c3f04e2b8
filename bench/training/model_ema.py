"""The moving average of a network's weights, which is evaluated and kept in their place.

While the learning rate is high the weights go to and fro around a good place, and their average
lies nearer to it (Polyak and Juditsky 1992, "Acceleration of stochastic approximation by
averaging"; for deep networks Tarvainen and Valpola 2017, arXiv:1703.01780).

`torch.optim.swa_utils.AveragedModel` has one decay for the whole run, treats counters as weights,
and cannot skip a step by a flag on the device; hence this file.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from variants.spec import AcousticModel


def decay_at(step: int, decay: float) -> float:
    """The share of the average that `step` (from 0) keeps: min(`decay`, (1 + step) / (10 + step)).

    So an early average is not one of random weights. The ramp is that of TensorFlow's
    ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))


class ModelEma:
    """A network and the moving average of its weights and running statistics, on its device."""

    model: AcousticModel
    """What is evaluated: a copy that holds the average, or the network itself with decay 0."""

    def __init__(self, model: AcousticModel, decay: float) -> None:
        """Follow `model`, which is on its device already and is changed in place from now on."""
        self.model, self._decay = model, decay
        if not decay:
            return
        # A move, to where it is, lays the weights of torch's recurrent cells side by side again,
        # as cuDNN wants them.
        device = next(model.parameters()).device
        self.model = deepcopy(model).to(device).requires_grad_(False)
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._current: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int, skip: Tensor) -> None:
        """Take up what the network is after `step` (from 0), unless `skip` (a bool on the device)
        holds: then the average stays as it is. No device is waited for.

        Counters are copied.
        """
        if not self._decay:
            return
        share = torch.where(skip, 0.0, 1 - decay_at(step, self._decay))
        shares = [share.expand_as(averaged) for averaged in self._averaged]
        torch._foreach_lerp_(self._averaged, self._current, shares)
        for averaged, current in self._buffers:
            if averaged.is_floating_point():
                averaged.lerp_(current, share)
            else:
                averaged.copy_(current)

    def state(self) -> dict[str, Any]:
        """What a run's last checkpoint holds of it: `average`, or nothing with decay 0."""
        return {"average": self.model.state_dict()} if self._decay else {}
