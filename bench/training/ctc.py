"""The CTC loss (Graves et al. 2006, "Connectionist temporal classification").

Legend: B utterances, U output frames, V symbols, L labels.

On a CPU kernel.c computes loss and gradient in a tenth of the time of torch's own function, on CUDA
a Triton kernel without waiting for the device; torch's function is used where neither is there.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from bench.data.text import BLANK
from variants.ops import kernel, paths, triton_ctc, triton_runtime


def ctc_losses(
    log_probs_BUV: Tensor, out_lens_B: Tensor, targets_BL: Tensor, target_lens_B: Tensor
) -> Tensor:
    """CTC loss of each utterance [B] in nats per symbol, in float32; infinite if an utterance has
    fewer output frames than CTC needs for its text.

    Per symbol, so that long utterances do not outweigh short ones, like the ``mean`` reduction of
    `torch.nn.functional.ctc_loss`. All tensors are on one device.
    """
    log_probs_BUV = log_probs_BUV.float()
    if kernel.computes(log_probs_BUV):
        paths.note(paths.CTC, kernel.description())
        losses = _CtcLosses.apply(log_probs_BUV, out_lens_B, targets_BL, target_lens_B)
        losses_B = cast(Tensor, losses)
    elif triton_ctc.computes(log_probs_BUV, targets_BL.shape[1]):
        paths.note(paths.CTC, triton_runtime.description())
        losses_B = triton_ctc.ctc_losses(
            log_probs_BUV, out_lens_B, targets_BL, target_lens_B, BLANK
        )
    else:
        paths.note(paths.CTC, "torch")
        losses_B = _by_torch(log_probs_BUV, out_lens_B, targets_BL, target_lens_B)
    return per_symbol(losses_B, target_lens_B)


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
    """The loss in nats, by kernel.c.

    `forward` also computes the gradient: it needs the forward variables (`alpha`, two values a
    label and frame), which `backward` would otherwise have to store or compute again. The loss
    enters the objective linearly, so `backward` only scales that gradient by `grad_B`.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        log_probs_BUV: Tensor,
        out_lens_B: Tensor,
        targets_BL: Tensor,
        target_lens_B: Tensor,
    ) -> Tensor:
        num_rows, num_frames, _ = log_probs_BUV.shape
        wanted = ctx.needs_input_grad[0]  # type: ignore[attr-defined]
        losses_B = log_probs_BUV.new_empty(num_rows)
        grads_BUV = log_probs_BUV.new_zeros(log_probs_BUV.shape) if wanted else None
        # As kernel.c orders them: one impossible state (before the first label), L labels, and the
        # L + 1 blanks around them.
        num_states = 2 * targets_BL.shape[1] + 2
        kernel.call(
            "ctc",
            blank=BLANK,
            log_probs=log_probs_BUV.contiguous(),
            lens=out_lens_B,
            targets=targets_BL.contiguous(),
            target_lens=target_lens_B,
            alpha=log_probs_BUV.new_empty(num_rows, num_frames + 1, num_states),
            scratch=log_probs_BUV.new_empty(num_rows, 5, num_states),
            losses=losses_B,
            grads=grads_BUV,
        )
        if grads_BUV is not None:
            ctx.save_for_backward(grads_BUV)
        return losses_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, None, None, None]:
        (grads_BUV,) = ctx.saved_tensors
        return grads_BUV * grad_B[:, None, None], None, None, None
