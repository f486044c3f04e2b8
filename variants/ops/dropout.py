"""Dropout with inexpensive random numbers on a CPU."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), as `torch.nn.Dropout`.

    On a CPU torch draws a number for each element, which took 5 % of a training step. Here one
    draw of 64 bits serves four elements, so the probability is `p` to the nearest 1 / 65536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """The arguments that ``print(module)`` shows."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """In training zero each element with probability `p`, and divide the rest by ``1 - p``."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        # A draw is a uniform int16. Of its 2^16 values the num_kept smallest keep an element.
        num_kept = max(1, round((1 - self.p) * 2**16))
        fours = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = fours.view(torch.int16)[: x.numel()]
        if kernel.computes(x):
            return cast(Tensor, _Dropped.apply(x, draws, num_kept))
        # <= the largest value that keeps, not < the next: that may be 2^15, no int16.
        kept = (draws <= num_kept - 1 - 2**15).view(x.shape)
        return x * kept.to(x.dtype).mul_(2**16 / num_kept)


class _Dropped(torch.autograd.Function):
    """By kernel.c: one pass forward, one backward; only the draws are saved between them."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, draws: Tensor, num_kept: int) -> Tensor:
        ctx.save_for_backward(draws)
        ctx.num_kept = num_kept  # type: ignore[attr-defined]
        return _drop(x, draws, num_kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (draws,) = ctx.saved_tensors
        return _drop(grad, draws, ctx.num_kept), None, None


def _drop(x: Tensor, draws: Tensor, num_kept: int) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    kernel.call("drop", num_kept=num_kept, draws=draws, x=x, y=y)
    return y
