"""Recurrences on CUDA: every cell by one Triton kernel, both directions in one launch.

Legend: B rows, T frames, D directions, C inputs, H width, G gates times H.

cuDNN gives each cell another algorithm, chosen by its width, so a comparison of costs would compare
algorithms. Here, as in kernel.c, input products and weight gradients are large matrix products, and
the kernel computes only what depends on the frame before.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from variants.ops import paths, triton_runtime

MAX_UNITS = 256
"""The widest cell that takes this path if cuDNN has one like it. The weights stream from the L2
cache once a frame, which at 64 bytes a cycle and SM takes 3.5 µs for a GRU of 256 units and 14 µs
for 512 (computed, not measured); cuDNN divides a wide cell among SMs."""
ROWS = 16
"""Rows of one program: the fewest of a tensor core's product."""
TILE, NUM_WARPS = 32, 8
"""Units that a program computes at once, and its warps: no registers are spilled, as they are with
4 warps or tiles of 64 units (tests/variants/ops/test_triton_compiled.py)."""
MAX_REGISTERS = 128
"""Of a thread. Without it ptxas takes 80, to fit three programs on an SM, and spills some of
float32; there are fewer programs than SMs."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How a kind of cell is computed."""

    code: int
    """As triton_recurrence_kernels numbers it."""
    num_gates: int
    num_saved: int
    """Values a unit and frame that the backward pass reads besides the state."""


CELLS = {
    "RNN_TANH": Cell(code=0, num_gates=1, num_saved=0),
    "RNN_RELU": Cell(code=1, num_gates=1, num_saved=0),
    "CLIPPED_RELU": Cell(code=2, num_gates=1, num_saved=0),
    "GRU": Cell(code=3, num_gates=3, num_saved=4),
    "LSTM": Cell(code=4, num_gates=4, num_saved=5),
}
"""By the `mode` of torch's cells; torch has no clipped one."""


def recur(
    mode: str,
    gates_BTDG: Tensor,
    weight_hh_DGH: Tensor,
    lens_B: Tensor,
    new_bias_DH: Tensor | None = None,
    clip: float = 0.0,
) -> Tensor:
    """States [B, T, D, H], typed as `gates_BTDG`, from initial states of zero; 0 in the padding.

    Args:
        mode: a key of CELLS.
        gates_BTDG: ``x W_ih + b``, for a GRU's new gate without the bias of ``h W_hh``; its type is
            the precision of products.
        weight_hh_DGH: of one direction, or of the forward and the backward one.
        lens_B: int64 frames, on the device; the backward direction begins at the last of each row.
        new_bias_DH: of a GRU: the new gate's bias of ``h W_hh``.
        clip: of a clipped ReLU.
    """
    paths.note(paths.RECURRENCE, triton_runtime.description())
    if new_bias_DH is None:
        new_bias_DH = weight_hh_DGH.new_zeros(len(weight_hh_DGH), weight_hh_DGH.shape[2])
    states = _Recurrence.apply(mode, gates_BTDG, weight_hh_DGH, lens_B, new_bias_DH, clip)
    return cast(Tensor, states)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mode: str,
        gates_BTDG: Tensor,
        weight_hh_DGH: Tensor,
        lens_B: Tensor,
        new_bias_DH: Tensor,
        clip: float,
    ) -> Tensor:
        from variants.ops import triton_recurrence_kernels as kernels

        weight_DGH = weight_hh_DGH.to(gates_BTDG.dtype).contiguous()
        num_rows, num_frames, num_directions, _ = shape = gates_BTDG.shape
        lens_B, width = lens_B.clamp(max=num_frames), weight_DGH.shape[2]
        states_BTDH = gates_BTDG.new_zeros(*shape[:3], width, dtype=torch.float32)
        num_saved = CELLS[mode].num_saved * width
        saved = gates_BTDG.new_empty(*shape[:3], num_saved, dtype=torch.float32)
        kernels.forward[_grid(num_rows, num_directions)](
            gates_BTDG.contiguous(), weight_DGH, new_bias_DH.float().contiguous(), lens_B,
            states_BTDH, saved, num_rows, num_frames, width, clip,
            **constants(mode, width, num_directions, weight_DGH.dtype),
        )  # fmt: skip
        ctx.save_for_backward(weight_DGH, lens_B, states_BTDH, saved)
        ctx.mode, ctx.clip = mode, clip  # type: ignore[attr-defined]
        ctx.types = weight_hh_DGH.dtype, new_bias_DH.dtype  # type: ignore[attr-defined]
        return states_BTDH.to(gates_BTDG.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTDH: Tensor) -> tuple[Tensor | None, ...]:
        from variants.ops import triton_recurrence_kernels as kernels

        weight_DGH, lens_B, states_BTDH, saved = ctx.saved_tensors
        (weight_type, bias_type), mode = ctx.types, ctx.mode
        num_rows, num_frames, num_directions, width = states_BTDH.shape
        precision, num_gates = weight_DGH.dtype, weight_DGH.shape[1]
        # Both float32, and 0 in the padding: of h W_hh, and of the argument of a GRU's new gate.
        grads_BTDG = states_BTDH.new_zeros(num_rows, num_frames, num_directions, num_gates)
        new_grads_BTDH = torch.zeros_like(states_BTDH) if mode == "GRU" else None
        carry_BDH = states_BTDH.new_empty(num_rows, num_directions, width)
        kernels.backward[_grid(num_rows, num_directions)](
            grad_BTDH.contiguous(), weight_DGH, lens_B, states_BTDH, saved, grads_BTDG,
            # Cells without a new gate write nothing there.
            carry_BDH if new_grads_BTDH is None else new_grads_BTDH, carry_BDH,
            num_rows, num_frames, width, ctx.clip,
            **constants(mode, width, num_directions, precision),
        )  # fmt: skip
        # The state before each frame: states are 0 in the padding, so the backward direction's is
        # that of the next frame.
        before = [F.pad(states_BTDH[:, :-1, 0], (0, 0, 1, 0))]
        if num_directions == 2:
            before.append(F.pad(states_BTDH[:, 1:, 1], (0, 0, 0, 1)))
        weight_grads = [
            grads_BTDG[:, :, d].reshape(-1, num_gates).to(precision).t()
            @ before[d].reshape(-1, width).to(precision)
            for d in range(num_directions)
        ]
        # The new gate of a GRU is tanh(a + r * b), a of the input, b = U_n h + bias: the last H of
        # `grads` are of b, `new_grads` of a.
        new_bias_grad, gate_grads_BTDG = None, grads_BTDG
        if new_grads_BTDH is not None:
            new_bias_grad = grads_BTDG[..., -width:].sum(dim=(0, 1)).to(bias_type)
            gate_grads_BTDG = torch.cat((grads_BTDG[..., :-width], new_grads_BTDH), dim=-1)
        return (
            None,
            gate_grads_BTDG.to(precision),
            torch.stack(weight_grads).to(weight_type),
            None,
            new_bias_grad,
            None,
        )


def constants(mode: str, width: int, num_directions: int, precision: torch.dtype) -> dict[str, Any]:
    """What a kernel is compiled for."""
    from triton import language as tl

    cell, is_wide = CELLS[mode], precision == torch.float32
    return {
        "H": width,
        "D": num_directions,
        "CELL": cell.code,
        "G": cell.num_gates,
        "S": max(1, cell.num_saved),
        "ROWS": ROWS,
        "NB": TILE,
        "KB": TILE,
        "PRECISION": tl.float32 if is_wide else tl.bfloat16,
        "num_warps": NUM_WARPS,
        "maxnreg": MAX_REGISTERS,
    }


def _grid(num_rows: int, num_directions: int) -> tuple[int, int]:
    return -(-num_rows // ROWS), num_directions


def computes(x: Tensor, width: int, *, has_equal: bool = True) -> bool:
    """True if the kernel is used for cells of `width` units on `x`; `has_equal` if cuDNN has such a
    cell."""
    is_narrow = width <= MAX_UNITS or not has_equal
    return bool(x.numel()) and is_narrow and triton_runtime.computes(x)
