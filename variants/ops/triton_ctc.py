"""The CTC loss on CUDA, by a Triton kernel: loss and gradient without waiting for the device.

Legend: B rows, U output frames, V symbols, L labels, S states.

torch's own function copies the lengths to the host, and when captured takes at most 255 frames.
"""

from torch import Tensor

from variants.ops import triton_runtime

CHUNK = 64
"""States that one step of `collect` adds up."""
SYMBOLS = 64
"""Symbols at most whose gradients one program of `collect` adds up: all of letters, a part of
pieces of words."""
MAX_STATES = 4096
"""A row's states are the registers of one program; texts of up to 2,047 labels."""


def computes(log_probs_BUV: Tensor, num_labels: int) -> bool:
    """True if the kernel supports log-probabilities and texts of up to `num_labels` labels."""
    return 2 * num_labels + 1 <= MAX_STATES and triton_runtime.computes(log_probs_BUV)


def launch(
    log_probs_BUV: Tensor,
    out_lens_B: Tensor,
    targets_BL: Tensor,
    target_lens_B: Tensor,
    *,
    blank: int,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """CTC losses [B] in nats and, `with_gradient`, their gradients [B, U, V]; a loss is infinite,
    its gradient zero, if a row has too few frames.

    float32 log-probabilities and int64 lengths and targets, on one device. Rows of length 0 with an
    empty text cost 0. Deterministic.
    """
    from variants.ops import triton_ctc_kernels as kernels  # Triton comes with CUDA wheels only

    num_rows, num_frames, num_symbols = log_probs_BUV.shape
    num_labels = targets_BL.shape[1]
    # A power of 2, as a range of Triton's must be.
    num_states = max(4, triton_runtime.power_of_2(2 * num_labels + 1))
    paths = log_probs_BUV.new_empty(num_rows, 2, num_frames, num_states)
    losses_B = log_probs_BUV.new_empty(num_rows)
    given = (log_probs_BUV, out_lens_B, targets_BL, target_lens_B)
    inputs = (*(tensor.contiguous() for tensor in given), paths, losses_B)
    sizes = (num_frames, num_symbols, num_labels)
    kernels.sweep[(num_rows, 2 if with_gradient else 1)](
        *inputs, *sizes, BLANK=blank, S=num_states, num_warps=num_warps(num_states)
    )
    if not with_gradient:
        return losses_B, None
    grads_BUV = log_probs_BUV.new_empty(log_probs_BUV.shape)
    if num_frames:
        part = min(SYMBOLS, triton_runtime.power_of_2(num_symbols))
        kernels.collect[(num_rows, num_frames, -(-num_symbols // part))](
            *inputs, grads_BUV, *sizes, BLANK=blank, S=num_states, CHUNK=CHUNK,
            VS=part, num_warps=2,
        )  # fmt: skip
    return losses_B, grads_BUV


def num_warps(num_states: int) -> int:
    """Of `sweep`: two states a thread, up to 256 threads."""
    return min(8, max(1, num_states // 64))
