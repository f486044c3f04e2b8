"""Normalisations whose statistics exclude the padding.

Legend: B batch, T frames, C channels; ``lens_B`` int64. A position is a frame, or a bin of a frame
after 2-D convolutions: R positions of an utterance, N = B R of all.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel, ranks
from variants.ops.padding import frame_mask

Norm = Literal["batch", "layer", "none"]
MOMENTUM, EPS = 0.1, 1e-5
"""torch's, of batch normalisation."""


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of the channels of [B, T, …, C], with statistics of valid frames only.

    Otherwise as torch's: the biased variance normalises, the unbiased one enters the running
    statistics with MOMENTUM. Statistics are float32, under autocast too. Of a batch that is
    divided among ranks they are those of the whole batch, as torch's SyncBatchNorm has them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor, lens_B: Tensor) -> Tensor:
        """Normalise with statistics of the batch in training, with running ones in evaluation."""
        wide = x.float()
        with _without_autocast(x.device):
            if self.training:
                return self._by_batch_statistics(wide, lens_B).to(x.dtype)
            return self._by_running_statistics(wide).to(x.dtype)

    def _by_batch_statistics(self, x: Tensor, lens_B: Tensor) -> Tensor:
        normalized = _KernelBatchNorm if kernel.computes(x) else _TorchBatchNorm
        x_BRC = x.flatten(1, -2)
        # Valid positions of each utterance.
        counts_B = (lens_B * math.prod(x.shape[2:-1])).clamp(max=x_BRC.shape[1])
        out = normalized.apply(x_BRC, counts_B, self.weight, self.bias)
        y_BRC, mean, var, count = cast(tuple[Tensor, Tensor, Tensor, Tensor], out)
        with torch.no_grad():
            unbiased = var * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(unbiased, MOMENTUM)
        return y_BRC.view(x.shape)

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        gain = self.weight * torch.rsqrt(self.running_var + EPS)
        if kernel.computes(x) and not torch.is_grad_enabled():
            return _normalized(x.contiguous(), self.running_mean, gain, self.bias)
        return torch.addcmul(self.bias, x - self.running_mean, gain)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Keep statistics float32. The meta device, used to count multiply-adds, has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class _TorchBatchNorm(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + EPS) * weight + bias, and mean, var and count of valid positions.

    x is [B, R, C]. With a custom backward pass, since autograd's takes four times as long on a CPU.
    Sums over valid positions are products with a mask: a boolean index would synchronise a GPU.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x_BRC: Tensor, counts_B: Tensor, weight_C: Tensor, bias_C: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_NC = x_BRC.flatten(0, 1)
        mask_N = frame_mask(counts_B, x_BRC.shape[1]).to(x_BRC.dtype).flatten()
        is_divided = ranks.is_batch_divided()
        count, total_C = mask_N.sum(), mask_N @ x_NC
        if is_divided:
            count, total_C = ranks.summed(count, total_C)
        count = count.clamp(min=1)
        mean_C = total_C / count
        centred_NC = x_NC - mean_C
        squares_C = mask_N @ centred_NC.square()
        if is_divided:
            (squares_C,) = ranks.summed(squares_C)
        var_C = squares_C / count
        inverse_C = torch.rsqrt(var_C + EPS)
        y_NC = torch.addcmul(bias_C, centred_NC, weight_C * inverse_C)
        ctx.save_for_backward(centred_NC, mask_N, weight_C, inverse_C, count)
        ctx.is_divided = is_divided  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean_C, var_C, count)
        return y_NC.view(x_BRC.shape), mean_C, var_C, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BRC: Tensor, *_: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        centred_NC, mask_N, weight_C, inverse_C, count = ctx.saved_tensors
        grad_NC = grad_BRC.flatten(0, 1)
        # Over padding too: y depends on the weights and the statistics there as elsewhere.
        own_sum_C, own_product_C = grad_NC.sum(0), (grad_NC * centred_NC).sum(0)
        sum_C, product_C = _of_all_ranks(ctx, own_sum_C, own_product_C)
        # With x̂ = (x - mean) / σ, dy/dx through mean and variance reaches valid positions only:
        # x_grad = weight / σ · (grad - mask · (Σ grad + x̂ Σ grad x̂) / count)
        slope_C = inverse_C.square() * product_C / count
        shared_NC = torch.addcmul(sum_C / count, centred_NC, slope_C).mul_(mask_N[:, None])
        x_grad_NC = torch.sub(grad_NC, shared_NC, out=shared_NC).mul_(weight_C * inverse_C)
        own_weight_grad_C = own_product_C * inverse_C
        return x_grad_NC.view(grad_BRC.shape), None, own_weight_grad_C, own_sum_C


class _KernelBatchNorm(torch.autograd.Function):
    """_TorchBatchNorm by kernel.c, in about half the time: two passes over x forward, two back."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x_BRC: Tensor, counts_B: Tensor, weight_C: Tensor, bias_C: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_BRC = x_BRC.contiguous()
        mean_C, squares_C = x_BRC.new_empty(2, x_BRC.shape[-1])
        kernel.call("moments", lens=counts_B, x=x_BRC, mean=mean_C, squares=squares_C)
        is_divided, count = ranks.is_batch_divided(), counts_B.sum()
        if is_divided:
            mean_C, squares_C, count = _joined(mean_C, squares_C, count)
        count = count.clamp(min=1)
        var_C = squares_C / count
        inverse_C = torch.rsqrt(var_C + EPS)
        gain_C = weight_C * inverse_C
        y_BRC = _normalized(x_BRC, mean_C, gain_C, bias_C)
        ctx.save_for_backward(x_BRC, counts_B, mean_C, inverse_C, gain_C, count)
        ctx.is_divided = is_divided  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean_C, var_C, count)
        return y_BRC, mean_C, var_C, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BRC: Tensor, *_: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        x_BRC, counts_B, mean_C, inverse_C, gain_C, count = ctx.saved_tensors
        grad_BRC = grad_BRC.contiguous()
        own_sum_C, own_product_C = x_BRC.new_empty(2, x_BRC.shape[-1])
        kernel.call(
            "normalize_sums",
            grads=grad_BRC.flatten(0, 1),
            x=x_BRC.flatten(0, 1),
            mean=mean_C,
            sums=own_sum_C,
            products=own_product_C,
        )
        # As in _TorchBatchNorm.backward, the mask by the lengths.
        sum_C, product_C = _of_all_ranks(ctx, own_sum_C, own_product_C)
        shared_C, slope_C = sum_C / count, inverse_C.square() * product_C / count
        x_grad_BRC = torch.empty_like(x_BRC)
        kernel.call(
            "normalize_backward",
            lens=counts_B,
            grads=grad_BRC,
            x=x_BRC,
            mean=mean_C,
            shared=shared_C,
            slope=slope_C,
            gain=gain_C,
            x_grads=x_grad_BRC,
        )
        return x_grad_BRC, None, own_product_C * inverse_C, own_sum_C


def _joined(mean_C: Tensor, squares_C: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sum of squared distances from it, and number of positions over all ranks, from those of
    this rank's rows (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115)."""
    own_count = count.to(mean_C.dtype)
    # The messages are those of _TorchBatchNorm: a rank may lack the kernel.
    all_count, total_C = ranks.summed(own_count, own_count * mean_C)
    all_mean_C = total_C / all_count.clamp(min=1)
    (all_squares_C,) = ranks.summed(squares_C + own_count * (mean_C - all_mean_C).square())
    return all_mean_C, all_squares_C, all_count


def _of_all_ranks(ctx: Any, sum_C: Tensor, product_C: Tensor) -> tuple[Tensor, ...]:
    """The sums of a backward pass over the whole batch, through which the gradient of its
    statistics goes. Gradients of weights stay those of this rank's rows: the ranks add them up."""
    return ranks.summed(sum_C, product_C) if ctx.is_divided else (sum_C, product_C)


def _normalized(x: Tensor, mean_C: Tensor, gain_C: Tensor, bias_C: Tensor) -> Tensor:
    """(x - mean) * gain + bias, by kernel.c, without gradients."""
    x_NC = x.flatten(0, -2)
    y_NC = torch.empty_like(x_NC)
    kernel.call("normalize", x=x_NC, mean=mean_C, gain=gain_C, bias=bias_C, y=y_NC)
    return y_NC.view(x.shape)


class Normalization(nn.Module):
    """The normalisation `kind` of the channels of [B, T, …, C]; "none" returns its input."""

    def __init__(self, kind: Norm, num_channels: int) -> None:
        super().__init__()
        self.batch = MaskedBatchNorm(num_channels) if kind == "batch" else None
        self.layer = nn.LayerNorm(num_channels) if kind == "layer" else None

    def forward(self, x: Tensor, lens_B: Tensor) -> Tensor:
        """Normalise over the frames of the batch ("batch"), or within each position ("layer")."""
        if self.batch is not None:
            x = self.batch(x, lens_B)
        if self.layer is not None:
            x = self.layer(x)
        return x
