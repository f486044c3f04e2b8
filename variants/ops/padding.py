"""Masks and operations that separate valid frames from padding.

Legend: B batch, T frames, C channels; ``lens_B`` int64. Each utterance starts at the first frame of
its row and is followed by padding.
"""

import torch
from torch import Tensor


def frame_mask(lens_B: Tensor, num_frames: int) -> Tensor:
    """[B, T], True for valid frames."""
    return torch.arange(num_frames, device=lens_B.device) < lens_B[:, None]


def zero_padding(x: Tensor, lens_B: Tensor) -> Tensor:
    """`x` [B, T, …] with the padding set to zero, even where it is NaN."""
    mask_BT = frame_mask(lens_B, x.shape[1])
    return x.masked_fill(~mask_BT.view(*mask_BT.shape, *(1,) * (x.dim() - 2)), 0.0)


def reverse_by_length(x_BTC: Tensor, lens_B: Tensor) -> Tensor:
    """`x` with the valid frames of each utterance reversed; the padding stays in place."""
    num_rows, num_frames, _ = x_BTC.shape
    time_T = torch.arange(num_frames, device=x_BTC.device)
    # Of 3 frames in a row of 5:
    #
    #     frame     0  1  2  3  4
    #     source    2  1  0  3  4
    source_BT = torch.where(time_T < lens_B[:, None], lens_B[:, None] - 1 - time_T, time_T)
    row_B1 = torch.arange(num_rows, device=x_BTC.device)[:, None]
    # index_select of whole frames is 5 to 15 times as fast on a CPU as gather by an expanded index.
    flat = x_BTC.flatten(0, 1).index_select(0, (row_B1 * num_frames + source_BT).flatten())
    return flat.view_as(x_BTC)
