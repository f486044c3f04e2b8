"""The recurrence of a simple recurrent unit: by the compiled kernel on a CPU, by torch's operations
elsewhere.

Legend: B batch, T frames, H width.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel


def simple_recurrence(
    gates_BTH: Tensor, new_BTH: Tensor, peephole_H: Tensor, initial_BH: Tensor
) -> Tensor:
    """The cells c [B, T, H] after each frame, all of one type.

    f_t = sigma(gates_t + v * c_{t-1})
    c_t = f_t * c_{t-1} + (1 - f_t) * new_t
    """
    if gates_BTH.numel() and kernel.computes(gates_BTH):
        return cast(Tensor, _SimpleRecurrence.apply(gates_BTH, new_BTH, peephole_H, initial_BH))
    c_BH, cells = initial_BH, []
    for gate_BH, new_BH in zip(gates_BTH.unbind(dim=1), new_BTH.unbind(dim=1), strict=True):
        f_BH = torch.addcmul(gate_BH, peephole_H, c_BH).sigmoid()
        c_BH = torch.lerp(new_BH, c_BH, f_BH)  # f c + (1 - f) new
        cells.append(c_BH)
    return torch.stack(cells, dim=1)


class _SimpleRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, gates_BTH: Tensor, new_BTH: Tensor, peephole_H: Tensor, initial_BH: Tensor
    ) -> Tensor:
        # A copy, which the kernel overwrites by f.
        gates_BTH = gates_BTH.clone(memory_format=torch.contiguous_format)
        new_BTH, initial_BH = new_BTH.contiguous(), initial_BH.contiguous()
        cells_BTH = torch.empty_like(gates_BTH)
        kernel.call(
            "simple_forward",
            peephole=peephole_H,
            new_values=new_BTH,
            initial=initial_BH,
            gates=gates_BTH,
            cells=cells_BTH,
        )
        ctx.save_for_backward(gates_BTH, new_BTH, peephole_H, initial_BH, cells_BTH)
        return cells_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads_BTH: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gates_BTH, new_BTH, peephole_H, initial_BH, cells_BTH = ctx.saved_tensors
        initial_grad_BH = torch.zeros_like(initial_BH)
        gate_grads_BTH, new_grads_BTH = gates_BTH.new_empty(2, *gates_BTH.shape)
        kernel.call(
            "simple_backward",
            peephole=peephole_H,
            new_values=new_BTH,
            initial=initial_BH,
            gates=gates_BTH,
            cells=cells_BTH,
            out_grads=grads_BTH.contiguous(),
            carry=initial_grad_BH,
            gate_grads=gate_grads_BTH,
            new_grads=new_grads_BTH,
        )
        before_BTH = torch.cat((initial_BH[:, None], cells_BTH[:, :-1]), dim=1)
        peephole_grad_H = (gate_grads_BTH * before_BTH).sum((0, 1))
        return gate_grads_BTH, new_grads_BTH, peephole_grad_H, initial_grad_BH
