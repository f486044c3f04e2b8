"""Elementwise linear recurrences h_t = a_t * h_{t-1} + b_t.

On a CPU the compiled kernel runs over the frames, elsewhere torch computes them in parallel.

Source: the scan by which minGRU and minLSTM are trained, Feng et al. 2024,
https://arxiv.org/abs/2410.01201; in two levels as in Blelloch 1990, "Prefix sums and their
applications", section 1.2.

The paper's scan adds logarithms, which needs positive states and rounds sums of large ones. Here
products are never divided by, so that a decay of 0 is exact and states may have any sign.

Legend: B batch, T frames, K blocks, L frames of a block, H width.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel

BLOCK = 16
"""Frames of a block. It is fixed, so that rounding does not depend on the padding."""


def linear_recurrence(decays_BTH: Tensor, inputs_BTH: Tensor, initial_BH: Tensor) -> Tensor:
    """The states [B, T, H] of ``h_t = decays_t * h_{t-1} + inputs_t`` from ``h_0 = initial``.

    All three have one type, float32 or float64. Valid frames do not depend on later ones. The scan
    takes about ``BLOCK + T / BLOCK`` operations, one after the other, and as many for gradients.
    """
    return cast(Tensor, _LinearRecurrence.apply(decays_BTH, inputs_BTH, initial_BH))


class _LinearRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, decays_BTH: Tensor, inputs_BTH: Tensor, initial_BH: Tensor
    ) -> Tensor:
        if kernel.computes(inputs_BTH):
            decays_BTH, initial_BH = decays_BTH.contiguous(), initial_BH.contiguous()
            states_BTH = torch.empty_like(decays_BTH)
            kernel.call(
                "linear_forward",
                decays=decays_BTH,
                inputs=inputs_BTH.contiguous(),
                initial=initial_BH,
                states=states_BTH,
            )
        else:
            states_BTH = _scan(decays_BTH, inputs_BTH, initial_BH)
        ctx.save_for_backward(decays_BTH, states_BTH, initial_BH)
        return states_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads_BTH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decays_BTH, states_BTH, initial_BH = ctx.saved_tensors
        if kernel.computes(grads_BTH):
            initial_grad_BH = torch.zeros_like(initial_BH)
            decay_grads_BTH, input_grads_BTH = states_BTH.new_empty(2, *states_BTH.shape)
            kernel.call(
                "linear_backward",
                decays=decays_BTH.contiguous(),
                initial=initial_BH.contiguous(),
                states=states_BTH.contiguous(),
                out_grads=grads_BTH.contiguous(),
                carry=initial_grad_BH,
                decay_grads=decay_grads_BTH,
                input_grads=input_grads_BTH,
            )
            return decay_grads_BTH, input_grads_BTH, initial_grad_BH
        # g_t = dL/dh_t, through later frames too, is g_t = grads_t + a_{t+1} g_{t+1}: the same
        # recurrence, backward in time.
        next_BTH = F.pad(decays_BTH[:, 1:], (0, 0, 0, 1))
        zeros_BH = torch.zeros_like(initial_BH)
        totals_BTH = _scan(next_BTH.flip(1), grads_BTH.flip(1), zeros_BH).flip(1)
        before_BTH = torch.cat((initial_BH[:, None], states_BTH[:, :-1]), dim=1)
        return totals_BTH * before_BTH, totals_BTH, totals_BTH[:, 0] * decays_BTH[:, 0]


def _scan(decays_BTH: Tensor, inputs_BTH: Tensor, initial_BH: Tensor) -> Tensor:
    num_rows, num_frames, width = inputs_BTH.shape
    lacking = -num_frames % BLOCK

    def in_blocks(x_BTH: Tensor) -> Tensor:
        x_BKLH = F.pad(x_BTH, (0, 0, 0, lacking)).view(num_rows, -1, BLOCK, width)
        return x_BKLH.permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format)

    # In two levels, here with blocks of 4 frames; P_t is the product of the decays since the
    # block's begin:
    #
    #     frames          0 1 2 3 | 4 5 6 7 | 8 9 ...
    #     in each block   s_t from zero, and P_t             all blocks at once, BLOCK steps
    #     from block      h_3 = s_3 + P_3 h_0, then          one step a block
    #     to block        h_7 = s_7 + P_7 h_3, ...
    #     at last         h_t = s_t + P_t (state that the block begins with)
    # Within all blocks at once: the states from zero, and the products of decays since the begin.
    products_LBKH, states_LBKH = in_blocks(decays_BTH), in_blocks(inputs_BTH)
    for frame in range(1, BLOCK):
        states_LBKH[frame].addcmul_(products_LBKH[frame], states_LBKH[frame - 1])
        products_LBKH[frame].mul_(products_LBKH[frame - 1])
    # From block to block: the state that each begins with.
    state_BH, firsts = initial_BH, []
    for end_BH, product_BH in zip(
        states_LBKH[-1].unbind(dim=1), products_LBKH[-1].unbind(dim=1), strict=True
    ):
        firsts.append(state_BH)
        state_BH = torch.addcmul(end_BH, product_BH, state_BH)
    states_LBKH.addcmul_(products_LBKH, torch.stack(firsts, dim=1))
    states_BTH = states_LBKH.permute(1, 2, 0, 3).reshape(num_rows, -1, width)
    return states_BTH[:, :num_frames]
