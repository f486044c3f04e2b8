"""The CTC loss (Graves et al. 2006, "Connectionist temporal classification").

Legend: B utterances, U output frames, V symbols, L labels.

On a CPU kernel.c computes loss and gradient in a tenth of the time of torch's own function, on CUDA
a Triton kernel without waiting for the device; torch's function is used where neither is there.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from bench.data.text import BLANK
from variants.ops import kernel, paths, triton_ctc, triton_runtime

Launch = Callable[..., tuple[Tensor, Tensor | None]]
"""Computes losses [B] and, if asked, their gradients [B, U, V]; see `triton_ctc.launch`."""


def ctc_losses(
    log_probs_BUV: Tensor, out_lens_B: Tensor, targets_BL: Tensor, target_lens_B: Tensor
) -> Tensor:
    """CTC loss of each utterance [B] in nats per symbol, in float32; infinite if an utterance has
    fewer output frames than CTC needs for its text.

    Per symbol, so that long utterances do not outweigh short ones, like the ``mean`` reduction of
    `torch.nn.functional.ctc_loss`. All tensors are on one device.
    """
    log_probs_BUV = log_probs_BUV.float()
    given = out_lens_B, targets_BL, target_lens_B
    if kernel.computes(log_probs_BUV):
        paths.note(paths.CTC, kernel.description())
        losses_B = by_kernel(log_probs_BUV, *given)
    elif triton_ctc.computes(log_probs_BUV, targets_BL.shape[1]):
        paths.note(paths.CTC, triton_runtime.description())
        losses_B = by_triton(log_probs_BUV, *given)
    else:
        paths.note(paths.CTC, "torch")
        losses_B = _by_torch(log_probs_BUV, *given)
    return per_symbol(losses_B, target_lens_B)


def by_kernel(log_probs_BUV: Tensor, *given: Tensor) -> Tensor:
    """The losses [B] in nats by kernel.c; arguments as for `ctc_losses`, float32 on a CPU."""
    return cast(Tensor, _CtcLosses.apply(_launch_kernel, log_probs_BUV, *given))


def by_triton(log_probs_BUV: Tensor, *given: Tensor) -> Tensor:
    """The losses [B] in nats by the Triton kernel; arguments as for `ctc_losses`, float32."""
    return cast(Tensor, _CtcLosses.apply(triton_ctc.launch, log_probs_BUV, *given))


def per_symbol(losses_B: Tensor, target_lens_B: Tensor) -> Tensor:
    """`losses_B` divided by the number of symbols of each text."""
    return losses_B * (1 / target_lens_B.clamp(min=1))


def _by_torch(
    log_probs_BUV: Tensor, out_lens_B: Tensor, targets_BL: Tensor, target_lens_B: Tensor
) -> Tensor:
    """torch's own loss. It copies the lengths to the CPU, and so waits for a GPU."""
    device = log_probs_BUV.device
    if torch.are_deterministic_algorithms_enabled():  # torch has no deterministic one for CUDA
        log_probs_BUV, targets_BL = log_probs_BUV.cpu(), targets_BL.cpu()
    losses_B = F.ctc_loss(
        log_probs_BUV.transpose(0, 1),
        targets_BL,
        out_lens_B.cpu(),
        target_lens_B.cpu(),
        blank=BLANK,
        reduction="none",
    )
    return losses_B.to(device)


class _CtcLosses(torch.autograd.Function):
    """The loss in nats, as `launch` computes it together with its gradient.

    Both at once: the gradient needs the forward variables (two values a label and frame), which
    `backward` would otherwise have to store or compute again. The loss enters the objective
    linearly, so `backward` only scales that gradient by `grad_B`.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, launch: Launch, log_probs_BUV: Tensor, *given: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[1]  # type: ignore[attr-defined]
        losses_B, grads_BUV = launch(log_probs_BUV, *given, blank=BLANK, with_gradient=wanted)
        if grads_BUV is not None:
            ctx.save_for_backward(grads_BUV)
        return losses_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        (grads_BUV,) = ctx.saved_tensors
        return None, grads_BUV * grad_B[:, None, None], None, None, None


def _launch_kernel(
    log_probs_BUV: Tensor,
    out_lens_B: Tensor,
    targets_BL: Tensor,
    target_lens_B: Tensor,
    *,
    blank: int,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    num_rows, num_frames, _ = log_probs_BUV.shape
    losses_B = log_probs_BUV.new_empty(num_rows)
    grads_BUV = log_probs_BUV.new_zeros(log_probs_BUV.shape) if with_gradient else None
    # As kernel.c orders them: one impossible state (before the first label), L labels, and the
    # L + 1 blanks around them.
    num_states = 2 * targets_BL.shape[1] + 2
    kernel.call(
        "ctc",
        blank=blank,
        log_probs=log_probs_BUV.contiguous(),
        lens=out_lens_B,
        targets=targets_BL.contiguous(),
        target_lens=target_lens_B,
        alpha=log_probs_BUV.new_empty(num_rows, num_frames + 1, num_states),
        scratch=log_probs_BUV.new_empty(num_rows, 5, num_states),
        losses=losses_B,
        grads=grads_BUV,
    )
    return losses_B, grads_BUV
