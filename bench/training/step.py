"""What a training step changes besides weights and optimizer, and how a step is taken back.

A step whose loss, gradient or statistics are not finite is skipped: optimizer, moving average and
buffers keep what they held before it. The device decides, so the host never waits for it, and no
branch of the host depends on it (a captured graph may hold all of this).
"""

import torch
from torch import Tensor, nn


class Buffers:
    """The buffers of a network, such as the running statistics of batch normalisation, which a
    forward pass changes in place."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is on its device already and stays there."""
        self._current = list(model.buffers())
        self._floating = [buffer for buffer in self._current if buffer.is_floating_point()]
        self._saved = [buffer.clone() for buffer in self._current]
        self._nothing = torch.zeros((), device=next(model.parameters()).device)

    @torch.no_grad()
    def save(self) -> None:
        """Remember what they hold; called before the forward passes of a step."""
        if self._current:
            torch._foreach_copy_(self._saved, self._current)

    @torch.no_grad()
    def largest(self) -> Tensor:
        """Their largest magnitude, float32 []: not finite if any element is not, 0 of none."""
        if not self._floating:
            return self._nothing
        norms = torch._foreach_norm(self._floating, float("inf"))
        return torch.stack([norm.float() for norm in norms]).max()

    @torch.no_grad()
    def restore_if(self, skip: Tensor) -> None:
        """Go back to what was saved if `skip` (a bool on the device) holds."""
        for saved, current in zip(self._saved, self._current, strict=True):
            torch.where(skip, saved, current, out=current)
