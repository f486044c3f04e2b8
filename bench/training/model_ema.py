"""The exponential moving average (EMA) of a network's weights, which is evaluated and saved in
place of the weights.

At a high learning rate the weights oscillate around a minimum, and their average lies nearer to it
(Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; for deep
networks Tarvainen and Valpola 2017, arXiv:1703.01780).

`torch.optim.swa_utils.AveragedModel` is not used: it has one decay for the whole run, averages
counters like weights, and cannot skip a step by a flag on the device.
"""

from copy import deepcopy

import torch
from torch import Tensor

from variants.spec import AcousticModel


def decay_at(step: int, decay: float) -> float:
    """The decay at `step` (from 0): min(`decay`, (1 + step) / (10 + step)).

    The ramp, that of TensorFlow's ExponentialMovingAverage with `num_updates`, makes the average
    forget the random initial weights within a few steps.
    """
    return min(decay, (1 + step) / (10 + step))


class ModelEma:
    """A network and the moving average of its weights and running statistics, on its device."""

    model: AcousticModel
    """The network to evaluate: a copy that holds the average; with decay 0 the trained one."""

    def __init__(self, model: AcousticModel, decay: float) -> None:
        """Average `model`, which is on its device already and is trained in place."""
        self.model, self._decay = model, decay
        if not decay:
            return
        # `to`, though the copy is on this device already, calls flatten_parameters: cuDNN wants the
        # weights of a recurrent layer in one block of memory, and deepcopy separates them.
        device = next(model.parameters()).device
        self.model = deepcopy(model).to(device).requires_grad_(False)
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._current: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, share: float | Tensor, skip: Tensor) -> None:
        """Add the weights to the average with weight `share`, ``1 - decay_at(step)``, unless `skip`
        (a bool on the device) is true.

        The host does not wait for the device. Integer buffers (counters) are copied, not averaged.
        """
        if not self._decay:
            return
        share = torch.where(skip, 0.0, share)  # a share of 0 leaves the average as it is
        shares = [share.expand_as(averaged) for averaged in self._averaged]
        torch._foreach_lerp_(self._averaged, self._current, shares)
        for averaged, current in self._buffers:
            if averaged.is_floating_point():
                averaged.lerp_(current, share)
            else:
                averaged.copy_(current)

    def state(self) -> dict[str, object]:
        """The entry `average` of a run's last checkpoint; empty with decay 0."""
        return {"average": self.model.state_dict()} if self._decay else {}
