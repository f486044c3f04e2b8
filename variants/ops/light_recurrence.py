"""The recurrence of a light GRU: by the compiled kernel on a CPU, by torch's operations elsewhere.

Legend: B batch, T frames, H width, G = 2 H: update gate z, then the candidate n.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import kernel


def light_recurrence(gates_BTG: Tensor, weight_hh_GH: Tensor, initial_BH: Tensor) -> Tensor:
    """The states [B, T, H] after each frame, in the type of `initial_BH`.

        z_t, n_t = sigma(gates_t + U h_{t-1}), relu(gates_t + U h_{t-1})
        h_t = z_t * h_{t-1} + (1 - z_t) * n_t

    Products have the type of the gates, bfloat16 under autocast.
    """
    if gates_BTG.numel() and kernel.computes(gates_BTG):
        return cast(Tensor, _LightRecurrence.apply(gates_BTG, weight_hh_GH, initial_BH))
    weight_GH, h_BH, states = weight_hh_GH.to(gates_BTG.dtype), initial_BH, []
    for gates_BG in gates_BTG.unbind(dim=1):
        sums_BG = gates_BG + F.linear(h_BH.to(weight_GH.dtype), weight_GH)
        z_BH, n_BH = sums_BG.to(initial_BH.dtype).chunk(2, dim=-1)
        h_BH = torch.lerp(n_BH.relu(), h_BH, z_BH.sigmoid())
        states.append(h_BH)
    return torch.stack(states, dim=1)


class _LightRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, gates_BTG: Tensor, weight_hh_GH: Tensor, initial_BH: Tensor
    ) -> Tensor:
        # A copy, which the kernel overwrites by z and n.
        gates_BTG = gates_BTG.clone(memory_format=torch.contiguous_format)
        initial_BH = initial_BH.contiguous()
        states_BTH = gates_BTG.new_empty(*gates_BTG.shape[:2], weight_hh_GH.shape[1])
        kernel.call(
            "light_gru_forward",
            weight_hh=kernel.pack(weight_hh_GH.t()),
            initial=initial_BH,
            scratch=kernel.product(initial_BH, weight_hh_GH.t()),
            gates=gates_BTG,
            states=states_BTH,
        )
        ctx.save_for_backward(gates_BTG, weight_hh_GH, initial_BH, states_BTH)
        return states_BTH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates_BTG, weight_hh_GH, initial_BH, states_BTH = ctx.saved_tensors
        carry_BH = torch.zeros_like(initial_BH)
        grads_BTG = torch.empty_like(gates_BTG)
        kernel.call(
            "light_gru_backward",
            weight_hh=kernel.pack(weight_hh_GH),
            initial=initial_BH,
            out_grads=grad_BTH.contiguous(),
            states=states_BTH,
            gates=gates_BTG,
            scratch=torch.zeros_like(initial_BH),
            carry=carry_BH,
            grads=grads_BTG,
        )
        # h_0 to h_{T-1}, which the recurrent product of each frame read.
        before_BTH = torch.cat((initial_BH[:, None], states_BTH[:, :-1]), dim=1)
        _, weight_grad_GH, _ = kernel.weight_grads(
            grads_BTG.flatten(0, 1), before_BTH.flatten(0, 1)
        )
        initial_grad_BH = kernel.product(grads_BTG[:, 0], weight_hh_GH) + carry_BH
        return grads_BTG, weight_grad_GH, initial_grad_BH
