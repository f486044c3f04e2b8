"""Recurrences on a CPU: equal to torch's cells up to rounding, faster to train, all by one kernel.

Legend: B batch, T frames, N frames of all rows, C inputs, H width, G gates times H.

On a CPU `torch.nn.GRU` and `torch.nn.RNN` record every frame for autograd and add a full weight
gradient at each, while `torch.nn.LSTM` has a kernel of oneDNN: a comparison of their costs would
compare implementations, not cells. Here all cells have the same structure:

    gates = x W_ih + b        one large product over all frames
    for each frame in C       only what depends on the previous frame: h W_hh and the activations
    weight gradients          large products over all frames

On CUDA the same structure is computed by Triton, both directions at once (`recur_directions`), and
by cuDNN where `triton_recurrence.computes` is false.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel, paths, triton_recurrence
from variants.ops.cells import ComposedCell, State
from variants.ops.kernel_signatures import Argument

_Pair = tuple[Tensor, Tensor]


def recur(cell: nn.RNNBase | ComposedCell, x_BTC: Tensor, lens_B: Tensor | None = None) -> Tensor:
    """Outputs [B, T, H] of a cell with one layer and direction, from an initial state of zero.

    Equal to ``cell(x_BTC)[0]`` up to rounding; under autocast in its precision. torch computes what
    the compiled kernel does not support: other devices and precisions, empty batches, and
    everything if there is no C compiler. Cells that torch does not have compute themselves.
    """
    return recur_from(cell, x_BTC, None, lens_B)[0]


def recur_from(
    cell: nn.RNNBase | ComposedCell,
    x_BTC: Tensor,
    state: State | None,
    lens_B: Tensor | None = None,
) -> tuple[Tensor, State]:
    """As `recur`, from `state` (None: zeros): the outputs and the state after the last frame.

    Gradients flow through both states. T must be at least 1. ``lens_B`` are the valid frames, which
    a cell with statistics over the batch counts; None: all.
    """
    if isinstance(cell, ComposedCell):
        return cast(tuple[Tensor, State], cell(x_BTC, state, lens_B))
    # By name, since cell._flat_weights may be stale within torch.func.functional_call.
    names = ("weight_ih_l0", "weight_hh_l0", *(("bias_ih_l0", "bias_hh_l0") if cell.bias else ()))
    weights = [cast(Tensor, getattr(cell, name)) for name in names]
    if x_BTC.numel() and kernel.computes(x_BTC):
        paths.note(paths.RECURRENCE, kernel.description())
        given = (*(state or ()), None, None)[:2]  # h and, of an LSTM, c
        out = _Recurrence.apply(cell.mode, x_BTC, *given, *weights)
        states_BTH, cells_BH = cast(tuple[Tensor, Tensor | None], out)
        last_BH = states_BTH[:, -1]
        return states_BTH, (last_BH,) if cells_BH is None else (last_BH, cells_BH)
    kind = x_BTC.device.type
    if kind == "meta":  # multiply-adds are counted there, by hooks of the cell
        states_BTH = cast(Tensor, cell(x_BTC)[0])
        return states_BTH, (states_BTH[:, -1],) * (2 if cell.mode == "LSTM" else 1)
    paths.note(paths.RECURRENCE, "cuDNN" if kind == "cuda" else "torch")
    if not torch.is_autocast_enabled(kind):
        return _by_torch(cell, x_BTC, weights, state)
    precision = torch.get_autocast_dtype(kind)
    with torch.autocast(kind, enabled=False):
        converted = _contiguous_weights(weights, precision)
        if state is not None:
            state = tuple(part.to(precision) for part in state)
        return _by_torch(cell, x_BTC.to(precision), converted, state)


def recur_directions(cells: Sequence[nn.RNNBase], x_BTC: Tensor, lens_B: Tensor) -> Tensor:
    """Outputs [B, T, D, H] of a forward and perhaps a backward cell, by Triton; 0 in the padding.

    The backward cell begins at the last frame of each row. Under autocast in its precision.
    """
    parts = [_gate_weights(cell) for cell in cells]
    weight_ih, bias, weight_hh, new_bias = zip(*parts, strict=True)
    biases = torch.cat(bias) if cells[0].bias else None
    gates_BTG = F.linear(x_BTC, torch.cat(weight_ih), biases)
    gates_BTDG = gates_BTG.view(*x_BTC.shape[:2], len(cells), -1)
    new_bias_DH = torch.stack(new_bias) if cells[0].mode == "GRU" and cells[0].bias else None
    return triton_recurrence.recur(
        cells[0].mode, gates_BTDG, torch.stack(weight_hh), lens_B, new_bias_DH
    )


def _gate_weights(cell: nn.RNNBase) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_ih, the bias of W_ih x, W_hh and the bias that stays with W_hh h (see `_Recurrence`)."""
    weight_ih_GC, weight_hh_GH = cast(_Pair, (cell.weight_ih_l0, cell.weight_hh_l0))
    nothing = weight_hh_GH.new_zeros(0)
    if not cell.bias:
        return weight_ih_GC, nothing, weight_hh_GH, nothing
    bias_ih_G, bias_hh_G = cast(_Pair, (cell.bias_ih_l0, cell.bias_hh_l0))
    width = cell.hidden_size
    if cell.mode != "GRU":
        return weight_ih_GC, bias_ih_G + bias_hh_G, weight_hh_GH, nothing
    shared = bias_ih_G[:-width] + bias_hh_G[:-width]
    bias_G = torch.cat((shared, bias_ih_G[-width:]))
    return weight_ih_GC, bias_G, weight_hh_GH, bias_hh_G[-width:]


def _contiguous_weights(weights: list[Tensor], precision: torch.dtype) -> list[Tensor]:
    """Weights in `precision` in one block of memory, as cuDNN expects.

    cuDNN's block has space for biases even if the cell has none.
    """
    bias_space = [weights[0].new_zeros(2 * len(weights[0]))] if len(weights) == 2 else []
    block = torch.cat([weight.flatten() for weight in weights + bias_space]).to(precision)
    parts = torch.split(block, [weight.numel() for weight in weights + bias_space])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=False)]


def _by_torch(
    cell: nn.RNNBase, x_BTC: Tensor, weights: list[Tensor], state: State | None
) -> tuple[Tensor, State]:
    """`recur_from` computed by torch, in the precision of input and weights."""
    if state is None:
        zeros_BH = x_BTC.new_zeros(len(x_BTC), cell.hidden_size)
        state = (zeros_BH,) * (2 if cell.mode == "LSTM" else 1)
    initial = tuple(part[None] for part in state)
    # The argument `train` of cuDNN: gradients may be needed in evaluation too.
    # has_biases, num_layers, dropout, train, bidirectional, batch_first:
    options = (cell.bias, 1, 0.0, torch.is_grad_enabled(), False, True)
    if cell.mode == "LSTM":
        states_BTH, *final = torch.lstm(x_BTC, initial, weights, *options)
    else:
        runs = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}
        states_BTH, *final = runs[cell.mode](x_BTC, initial[0], weights, *options)
    return states_BTH, tuple(part[0] for part in final)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mode: str,
        x_BTC: Tensor,
        initial_BH: Tensor | None,
        initial_cells_BH: Tensor | None,
        weight_ih_GC: Tensor,
        weight_hh_GH: Tensor,
        bias_ih_G: Tensor | None = None,
        bias_hh_G: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        bias_G = None
        new_gate_bias_H = weight_hh_GH.new_zeros(weight_hh_GH.shape[1])
        if bias_ih_G is not None and bias_hh_G is not None:
            # The new gate's part of b_hh is taken off again below.
            bias_G = bias_ih_G + bias_hh_G
            # n = tanh(W x + b_in + r * (U h + b_hn)): b_hn is multiplied by the reset gate r, so
            # for a GRU's new gate it cannot be added to the bias of the inputs.
            if mode == "GRU":
                new_gate_bias_H = bias_hh_G[-len(new_gate_bias_H) :].contiguous()
                bias_G[-len(new_gate_bias_H) :] -= new_gate_bias_H
        gates_NG = kernel.product(x_BTC.flatten(0, 1), weight_ih_GC.t(), bias_G)
        gates_BTG = gates_NG.view(*x_BTC.shape[:2], -1)
        initial = _Initial(x_BTC, weight_hh_GH, initial_BH, initial_cells_BH)
        states_BTH, others = _run(mode, gates_BTG, weight_hh_GH, new_gate_bias_H, initial)
        ctx.save_for_backward(
            x_BTC, weight_ih_GC, weight_hh_GH, initial.h_BH, initial.c_BH, states_BTH, *others
        )
        ctx.mode, ctx.biased = mode, bias_ih_G is not None  # type: ignore[attr-defined]
        return states_BTH, others[1][:, -1].clone() if mode == "LSTM" else None

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_BTH: Tensor, cells_grad_BH: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x_BTC, weight_ih_GC, weight_hh_GH, h_BH, c_BH, states_BTH, *others = ctx.saved_tensors
        carry_BH = torch.zeros_like(h_BH)
        if cells_grad_BH is not None:
            carry_BH.copy_(cells_grad_BH)
        first_BH = c_BH if ctx.mode == "LSTM" else h_BH
        grads_BTG, new_grads_BTH = _run_back(
            ctx.mode, grad_BTH.contiguous(), weight_hh_GH, first_BH, states_BTH, others, carry_BH
        )
        initial_grads: list[Tensor | None] = [None, None]
        # h reaches the first frame through U, in a GRU also past it (carry); c of an LSTM only past
        # it.
        if ctx.needs_input_grad[2]:
            h_grad_BH = kernel.product(grads_BTG[:, 0], weight_hh_GH)
            initial_grads[0] = h_grad_BH + carry_BH if ctx.mode == "GRU" else h_grad_BH
        if ctx.needs_input_grad[3]:
            initial_grads[1] = carry_BH
        grads_NG, x_NC = grads_BTG.flatten(0, 1), x_BTC.flatten(0, 1)
        before_NH = torch.cat((h_BH[:, None], states_BTH[:, :-1]), dim=1).flatten(0, 1)
        if new_grads_BTH is None:
            sum_G, weight_ih_grad, weight_hh_grad = kernel.weight_grads(grads_NG, x_NC, before_NH)
            input_sum_G = sum_G
        else:  # in the new gate, r scales the gradient of U h + b_hn but not that of W x + b_in
            sum_G, weight_hh_grad, _ = kernel.weight_grads(grads_NG, before_NH)
            # In place: these gradients have been used.
            grads_BTG[..., -new_grads_BTH.shape[-1] :] = new_grads_BTH
            input_sum_G, weight_ih_grad, _ = kernel.weight_grads(grads_NG, x_NC)
        bias_grads = (input_sum_G, sum_G) if ctx.biased else (None, None)
        x_grad = None
        if ctx.needs_input_grad[1]:
            x_grad = kernel.product(grads_NG, weight_ih_GC).view_as(x_BTC)
        return None, x_grad, *initial_grads, weight_ih_grad, weight_hh_grad, *bias_grads


class _Initial:
    """The initial state, zeros where none is given, and what the kernel reads of it."""

    def __init__(
        self, x_BTC: Tensor, weight_hh_GH: Tensor, h_BH: Tensor | None, c_BH: Tensor | None
    ) -> None:
        num_rows, (num_gates, width) = len(x_BTC), weight_hh_GH.shape
        zeros_BH = x_BTC.new_zeros(num_rows, width)
        self.h_BH = zeros_BH if h_BH is None else h_BH.contiguous()
        self.c_BH = zeros_BH if c_BH is None else c_BH.contiguous()
        self.product_BG = x_BTC.new_zeros(num_rows, num_gates)
        if h_BH is not None:
            self.product_BG = kernel.product(h_BH, weight_hh_GH.t())


def _run(
    mode: str,
    gates_BTG: Tensor,
    weight_hh_GH: Tensor,
    new_gate_bias_H: Tensor,
    initial: _Initial,
) -> tuple[Tensor, list[Tensor]]:
    """States [B, T, H] from gate inputs `gates_BTG`, which are overwritten, and the other tensors
    that `_run_back` needs."""
    # The other: an LSTM's cells, or what a GRU keeps of its new gate.
    states_BTH, other_BTH = gates_BTG.new_empty(2, *gates_BTG.shape[:2], weight_hh_GH.shape[1])
    common: dict[str, Argument] = {
        "weight_hh": kernel.pack(weight_hh_GH.t()),
        "scratch": initial.product_BG,
        "states": states_BTH,
    }
    if mode not in ("GRU", "LSTM"):
        kernel.call("rnn_forward", **common, relu=int(mode == "RNN_RELU"), inputs=gates_BTG)
        return states_BTH, []
    common["gates"] = gates_BTG
    if mode == "LSTM":
        kernel.call("lstm_forward", **common, initial=initial.c_BH, cells=other_BTH)
    else:
        own: dict[str, Argument] = {"bias": new_gate_bias_H, "new_gate": other_BTH}
        kernel.call("gru_forward", **common, initial=initial.h_BH, **own)
    return states_BTH, [gates_BTG, other_BTH]


def _run_back(
    mode: str,
    grad_BTH: Tensor,
    weight_hh_GH: Tensor,
    initial_BH: Tensor,
    states_BTH: Tensor,
    others: list[Tensor],
    carry_BH: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Gradients [B, T, G] of h W_hh; for a GRU also those of the new gate's argument [B, T, H].

    `initial_BH` is h of a GRU, c of an LSTM. `carry_BH` is overwritten (see kernel.c).
    """
    grads_BTG = grad_BTH.new_empty(*grad_BTH.shape[:2], len(weight_hh_GH))
    common: dict[str, Argument] = {
        "weight_hh": kernel.pack(weight_hh_GH),
        "out_grads": grad_BTH,
        "scratch": torch.zeros_like(initial_BH),
        "grads": grads_BTG,
    }
    if mode not in ("GRU", "LSTM"):
        kernel.call("rnn_backward", **common, relu=int(mode == "RNN_RELU"), states=states_BTH)
        return grads_BTG, None
    gates_BTG, other_BTH = others
    common |= {"initial": initial_BH, "carry": carry_BH, "gates": gates_BTG}
    if mode == "LSTM":
        kernel.call("lstm_backward", **common, cells=other_BTH)
        return grads_BTG, None
    new_grads_BTH = torch.empty_like(other_BTH)
    own: dict[str, Argument] = {"new_gate": other_BTH, "new_gate_grads": new_grads_BTH}
    kernel.call("gru_backward", **common, states=states_BTH, **own)
    return grads_BTG, new_grads_BTH
