"""Convolutions over time on a CPU: equal to torch's up to rounding, in two thirds of the time.

Legend: B batch, T frames, C input channels, D output channels, K frames of the kernel, U output
frames. A window is the input of one output frame: K C floats, frame after frame.

The frames of an utterance are contiguous in memory, so overlapping windows need no copy (im2col):

    floats     [ frame 0 | frame 1 | frame 2 | frame 3 | frame 4 ]      C floats a frame
    window 0   [------- size = K C ---------]
    window 1                       [------- size = K C ---------]       step = stride C

kernel.c multiplies this matrix of windows [U, K C], whose rows overlap, by the weights [K C, D].
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel


def convolve(conv: nn.Conv1d, x_BTC: Tensor, *, is_padded: bool = False) -> Tensor:
    """[B, T, C] to [B, U, D]; equal to ``conv(x.transpose(1, 2)).transpose(1, 2)`` up to rounding.

    If `x` `is_padded` already, no zeros are added. T plus the padding must be at least one window.
    torch computes what the compiled kernel does not support (see variants.ops.recurrence), and the
    gradient of the input.
    """
    (stride,), (padding,) = conv.stride, cast(tuple[int], conv.padding)
    if not kernel.computes(x_BTC):
        if is_padded:
            x_BCT = x_BTC.transpose(1, 2)
            return F.conv1d(x_BCT, conv.weight, conv.bias, stride).transpose(1, 2)
        return cast(Tensor, conv(x_BTC.transpose(1, 2)).transpose(1, 2))
    padding = 0 if is_padded else padding
    return cast(Tensor, _Convolution.apply(x_BTC, conv.weight, conv.bias, stride, padding))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_BTC: Tensor,
        weight_DCK: Tensor,
        bias_D: Tensor | None,
        stride: int,
        padding: int,
    ) -> Tensor:
        padded_BTC = F.pad(x_BTC, (0, 0, padding, padding)).contiguous()
        (num_rows, length, num_inputs), (num_channels, _, size) = padded_BTC.shape, weight_DCK.shape
        y_BUD = x_BTC.new_empty(num_rows, (length - size) // stride + 1, num_channels)
        kernel.call(
            "convolve",
            step=stride * num_inputs,
            inputs=padded_BTC.flatten(1),
            # As the floats of a window lie: frame by frame, each of C channels.
            weight=kernel.pack(weight_DCK.permute(2, 1, 0).flatten(0, 1)),
            bias=bias_D,
            out=y_BUD,
        )
        ctx.save_for_backward(padded_BTC, weight_DCK)
        ctx.stride, ctx.padding = stride, padding  # type: ignore[attr-defined]
        ctx.biased = bias_D is not None  # type: ignore[attr-defined]
        return y_BUD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BUD: Tensor) -> tuple[Tensor | None, ...]:
        padded_BTC, weight_DCK = ctx.saved_tensors
        num_channels, num_inputs, num_frames = weight_DCK.shape
        length, grads_ND = padded_BTC.shape[1], grad_BUD.flatten(0, 1)
        by_window_KCD = weight_DCK.new_zeros(num_frames, num_inputs, num_channels)
        kernel.call(
            "add_convolution_grad",
            U=grad_BUD.shape[1],
            step=ctx.stride * num_inputs,
            inputs=padded_BTC.flatten(1),
            grads=kernel.pack(grads_ND),
            weight_grad=by_window_KCD.flatten(0, 1),
        )
        x_grad = None
        if ctx.needs_input_grad[0]:
            left_over = (length - num_frames) % ctx.stride  # frames at the end, in no window
            x_grad = F.conv_transpose1d(
                grad_BUD.transpose(1, 2), weight_DCK, None, ctx.stride, ctx.padding, left_over
            ).transpose(1, 2)
        weight_grad = by_window_KCD.permute(2, 1, 0).contiguous()
        return x_grad, weight_grad, grads_ND.sum(0) if ctx.biased else None, None, None
