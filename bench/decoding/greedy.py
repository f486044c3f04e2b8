"""Greedy (best path) decoding of CTC outputs: Graves et al. 2006, section 3.2.

Legend: B utterances, U output frames, V symbols.
"""

import torch
from torch import Tensor

from bench.data.text import BLANK, decode


def greedy(log_probs_BUV: Tensor, out_lens_B: Tensor) -> list[str]:
    """The text of each utterance: the best symbol of each frame, repeats merged, blanks removed.

    Symbols are selected on the device of the log-probabilities for all utterances at once, and
    copied to the host in one transfer. `out_lens_B` is int64 frames, on any device.
    """
    best_BU = log_probs_BUV.argmax(dim=-1)
    frame_U = torch.arange(best_BU.shape[1], device=best_BU.device)
    begins_BU = (best_BU != best_BU.roll(1, dims=1)) | (frame_U == 0)
    inside_BU = frame_U < out_lens_B.to(best_BU.device)[:, None]
    # Frames that add no symbol (repeats, padding) become blanks, so that one tensor and one copy
    # hold the result.
    symbols_BU = torch.where(begins_BU & inside_BU, best_BU, BLANK).cpu()
    return [decode(symbols_U[symbols_U != BLANK].tolist()) for symbols_U in symbols_BU]
