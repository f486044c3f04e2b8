"""Dropout, its draws cheap on a CPU."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from variants import kernel


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), as `torch.nn.Dropout`.

    On a CPU torch draws a number for each element, which took 5 % of a step; here one draw of 64
    bits makes four, so that the share is within 1 / 65536 of `p`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """What print shows."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """In training, zero a share `p` of the elements and divide the others by ``1 - p``."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        num_kept = max(1, round((1 - self.p) * 2**16))  # of 2^16 numbers
        fours = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = fours.view(torch.int16)[: x.numel()]
        if kernel.computes(x):
            return cast(Tensor, _Dropped.apply(x, draws, num_kept))
        # At most the last one kept: one more may be 2^15, which 16 bits do not hold.
        kept = (draws <= num_kept - 1 - 2**15).view(x.shape)
        return x * kept.to(x.dtype).mul_(2**16 / num_kept)


class _Dropped(torch.autograd.Function):
    """By kernel.c: one pass each way, and nothing kept but the draws."""

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
    kernel.call("drop", N=x.numel(), num_kept=num_kept, draws=draws, x=x, y=y)
    return y
