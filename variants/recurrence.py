"""Recurrences on a CPU: the numbers of torch's own cells, trained faster.

Legend: B batch, T frames, C inputs, H width, G gates times H.

On a CPU `torch.nn.GRU` and `torch.nn.RNN` record every frame for autograd and add a weight gradient
of full size at each. Here the backward pass is written out: what a gate's gradient is multiplied by
is known after the forward pass, so it is computed for all frames at once; the loop over frames is
left with what depends on the next frame; the weights' gradient is one large product at the end.
`torch.nn.LSTM` has oneDNN's kernel on a CPU, and CUDA has cuDNN's; both are left to do their work.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

PACKED_FROM_WIDTH = 512
"""From this width on the state's weights are laid out for oneDNN once per batch: at width 512 a
product of 8 rows then runs at 95 GFLOP/s instead of 52 (LOG.md; the peak is 110). Below,
the call costs as much as it saves."""


def recur(cell: nn.RNNBase, x_BTC: Tensor) -> Tensor:
    """Outputs [B, T, H] of a cell of one layer and direction that begins at zero.

    As ``cell(x_BTC)[0]``, to rounding.
    """
    if not _written_out(cell, x_BTC):
        return cast(Tensor, cell(x_BTC)[0])
    x_TBC = x_BTC.transpose(0, 1)
    run = _gru if cell.mode == "GRU" else _rnn
    return run(cell, x_TBC).transpose(0, 1)


def _written_out(cell: nn.RNNBase, x: Tensor) -> bool:
    """Whether the functions of this file apply."""
    return x.device.type == "cpu" and cell.mode != "LSTM" and not torch.is_autocast_enabled("cpu")


def _weights(cell: nn.RNNBase) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of input [G, C] and state [G, H], biases of both [G]; zeros where there are none."""
    # By name: the cell's flat list of them may be stale after torch.func.functional_call.
    of_input, of_state = (cast(Tensor, getattr(cell, f"weight_{name}_l0")) for name in ("ih", "hh"))
    if not cell.bias:
        zeros_G = of_input.new_zeros(len(of_input))
        return of_input, of_state, zeros_G, zeros_G
    input_bias, bias = (cast(Tensor, getattr(cell, f"bias_{name}_l0")) for name in ("ih", "hh"))
    return of_input, of_state, input_bias, bias


def _rnn(cell: nn.RNNBase, x_TBC: Tensor) -> Tensor:
    """h' = f(W x + U h + b) with tanh or ReLU as f (Elman 1990)."""
    of_input, of_state, input_bias, bias = _weights(cell)
    inputs_TBH = F.linear(x_TBC, of_input, input_bias + bias)
    return _apply(_RNN, inputs_TBH, of_state, cell.mode == "RNN_RELU")


def _gru(cell: nn.RNNBase, x_TBC: Tensor) -> Tensor:
    """The GRU of cuDNN, whose reset gate acts after the product (Cho et al. 2014, variant v3).

    r, z = σ(W x + U h + b); n = tanh(W x + b + r (U h + c)); h' = n + z (h - n).
    """
    of_input, of_state, input_bias, bias = _weights(cell)
    gates = 2 * cell.hidden_size
    # The biases of r and z are sums; n has one outside the reset and one within.
    outside = torch.cat((input_bias[:gates] + bias[:gates], input_bias[gates:]))
    inputs_TBG = F.linear(x_TBC, of_input, outside)
    return _apply(_GRU, inputs_TBG, of_state, bias[gates:])


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    return cast(Tensor, function.apply(*args))


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs_TBH: Tensor, weight: Tensor, relu: bool) -> Tensor:
        num_frames, num_rows, width = inputs_TBH.shape
        states = inputs_TBH.new_zeros(num_frames + 1, num_rows, width)
        states[1:] = inputs_TBH
        state_at, add_product = states.unbind(), _adder(weight.t(), num_rows)
        for t in range(num_frames):
            add_product(state_at[t + 1], state_at[t])
            _ = state_at[t + 1].relu_() if relu else state_at[t + 1].tanh_()
        ctx.save_for_backward(states, weight)
        ctx.relu = relu  # type: ignore[attr-defined]
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor, Tensor, None]:
        states, weight = ctx.saved_tensors
        outputs_TBH = states[1:]
        slopes_TBH = (outputs_TBH > 0).to(weight.dtype) if ctx.relu else 1 - outputs_TBH.square()
        grads_TBH = grad_TBH.clone(memory_format=torch.contiguous_format)
        grad_at, slope_at = grads_TBH.unbind(), slopes_TBH.unbind()
        add_product = _adder(weight, grads_TBH.shape[1])
        for t in range(len(grad_at) - 1, -1, -1):
            grad_at[t].mul_(slope_at[t])
            if t:
                add_product(grad_at[t - 1], grad_at[t])
        return grads_TBH, _weight_grad(grads_TBH, states[:-1]), None


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs_TBG: Tensor, weight: Tensor, bias_H: Tensor) -> Tensor:
        num_frames, num_rows, num_gates = inputs_TBG.shape
        width = num_gates // 3
        states = inputs_TBG.new_empty(num_frames + 1, num_rows, width)
        states[0] = 0
        # At first what each product is added to; in the end r, z and U h + c.
        gates_TBG = inputs_TBG.clone()
        gates_TBG[..., 2 * width :] = bias_H
        news_TBH = torch.empty_like(states[1:])
        state_at, new_at, gates_at = states.unbind(), news_TBH.unbind(), gates_TBG.unbind()
        input_at, add_product = inputs_TBG[..., 2 * width :].unbind(), _adder(weight.t(), num_rows)
        both_at = gates_TBG[..., : 2 * width].unbind()
        reset_at, update_at, inner_at = (part.unbind() for part in gates_TBG.chunk(3, -1))
        for t in range(num_frames):
            add_product(gates_at[t], state_at[t])
            both_at[t].sigmoid_()
            torch.addcmul(input_at[t], reset_at[t], inner_at[t], out=new_at[t]).tanh_()
            torch.lerp(new_at[t], state_at[t], update_at[t], out=state_at[t + 1])
        ctx.save_for_backward(states, news_TBH, gates_TBG, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, news_TBH, gates_TBG, weight = ctx.saved_tensors
        num_frames, num_rows, num_gates = gates_TBG.shape
        width = num_gates // 3
        reset_TBH, update_TBH, inner_TBH = gates_TBG.chunk(3, -1)
        # The gradients of r, z (before σ) and U h + c are these slopes times that of the output.
        slopes = weight.new_empty(num_frames, num_rows, 3, width)
        new_slope_TBH = (1 - update_TBH) * (1 - news_TBH.square())
        torch.mul(new_slope_TBH * inner_TBH, reset_TBH * (1 - reset_TBH), out=slopes[:, :, 0])
        torch.mul(states[:-1] - news_TBH, update_TBH * (1 - update_TBH), out=slopes[:, :, 1])
        torch.mul(new_slope_TBH, reset_TBH, out=slopes[:, :, 2])
        grads_TBG = torch.empty_like(gates_TBG)
        grads_TBH = grad_TBH.clone(memory_format=torch.contiguous_format)
        grad_at, wide_at, slope_at = (
            grads_TBH.unbind(),
            grads_TBH[:, :, None].unbind(),
            slopes.unbind(),
        )
        gates_at, parts_at = grads_TBG.unbind(), grads_TBG.view_as(slopes).unbind()
        update_at, add_product = update_TBH.unbind(), _adder(weight, num_rows)
        for t in range(num_frames - 1, -1, -1):
            torch.mul(slope_at[t], wide_at[t], out=parts_at[t])
            if t:
                grad_at[t - 1].addcmul_(grad_at[t], update_at[t])
                add_product(grad_at[t - 1], gates_at[t])
        weight_grad = _weight_grad(grads_TBG, states[:-1])
        inner_grad_TBH = grads_TBG[..., 2 * width :]
        bias_grad_H = inner_grad_TBH.sum((0, 1))
        # The input enters n outside the reset.
        torch.mul(grads_TBH, new_slope_TBH, out=inner_grad_TBH)
        return grads_TBG, weight_grad, bias_grad_H


def _adder(matrix: Tensor, num_rows: int) -> Callable[[Tensor, Tensor], object]:
    """``add(out, x)``: out += x @ matrix, for many x of `num_rows` rows."""
    packable = matrix.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not packable or min(matrix.shape) < PACKED_FROM_WIDTH:
        return lambda out, x: out.addmm_(x, matrix)
    # What torch.compile emits for a Linear whose weight does not change.
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix.t().contiguous(), num_rows)
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda out, x: out.add_(linear(x, packed, None, "none", [], ""))


def _weight_grad(grads_TBG: Tensor, states_TBH: Tensor) -> Tensor:
    """[G, H] over all frames and rows in one product."""
    return grads_TBG.flatten(0, 1).t() @ states_TBH.flatten(0, 1)
