"""Greedy (best path) decoding of CTC outputs: Graves et al. 2006, section 3.2.

Legend: B utterances, U output frames, V symbols.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.data.text import BLANK, decode


def greedy(log_probs_BUV: Tensor, out_lens_B: Tensor) -> list[str]:
    """The text of each utterance: the best symbol of each frame, repeats merged, blanks removed.

    `out_lens_B` is int64 frames, on any device.
    """
    return begin_greedy(log_probs_BUV, out_lens_B)()


def begin_greedy(log_probs_BUV: Tensor, out_lens_B: Tensor) -> Callable[[], list[str]]:
    """Start `greedy` without waiting for the device; the result waits for it and spells the texts.

    Symbols are selected on the device of the log-probabilities for all utterances at once, and
    copied to the host in one transfer.
    """
    best_BU = log_probs_BUV.argmax(dim=-1)
    frame_U = torch.arange(best_BU.shape[1], device=best_BU.device)
    begins_BU = (best_BU != best_BU.roll(1, dims=1)) | (frame_U == 0)
    inside_BU = frame_U < out_lens_B.to(best_BU.device)[:, None]
    # Frames that add no symbol (repeats, padding) become blanks, so that one tensor and one copy
    # hold the result.
    symbols_BU = torch.where(begins_BU & inside_BU, best_BU, BLANK)
    wait, host_BU = _copied_to_host(symbols_BU)

    def spell() -> list[str]:
        wait()
        return [decode(symbols_U[symbols_U != BLANK].tolist()) for symbols_U in host_BU]

    return spell


def _copied_to_host(tensor: Tensor) -> tuple[Callable[[], None], Tensor]:
    """A copy on the CPU, complete once the function has returned."""
    if tensor.device.type != "cuda":
        return lambda: None, tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(tensor.device))
    return copied.synchronize, host
