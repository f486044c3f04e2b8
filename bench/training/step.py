"""The buffers of a network, saved before a training step and restored if the step is skipped.

A step whose loss, gradient or buffers are not finite is skipped: weights, optimizer, moving average
and buffers stay as they were. The device evaluates the flag, so the host does not wait for it and
takes no branch on it; a CUDA graph could capture a whole step.
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
        """Copy the buffers; called before the forward passes of a step."""
        if self._current:
            torch._foreach_copy_(self._saved, self._current)

    @torch.no_grad()
    def largest(self) -> Tensor:
        """The largest magnitude of all floating-point buffers, float32 []: not finite if any
        element is not; 0 without buffers."""
        if not self._floating:
            return self._nothing
        norms = torch._foreach_norm(self._floating, float("inf"))
        return torch.stack([norm.float() for norm in norms]).max()

    @torch.no_grad()
    def restore_if(self, skip: Tensor) -> None:
        """Restore the copy if `skip` (a bool on the device) is true."""
        for saved, current in zip(self._saved, self._current, strict=True):
            torch.where(skip, saved, current, out=current)
