"""Features that stay on a device: a batch is a gather by index there, and only indices are copied.

Legend: B utterances, T frames, F feature bins, N frames of all utterances and one of zeros.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.batches import Dataset

FREE_SHARE = 0.25
"""Of a GPU's free memory, the most that features take."""
CHUNK_BYTES = 64 * 2**20
"""Copied at once, from pinned memory."""


class ResidentFeatures:
    """The features of all utterances of a dataset, end to end, as the store has them."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        """Read the whole dataset from disk."""
        #     places       0   1 …          T0 + 1 …
        #     frames       0   utterance 0  utterance 1  …      place 0 is the padding of a batch
        shape = (dataset.num_places, dataset.store.config.num_bins)
        self._feats_NF = torch.empty(shape, dtype=torch.float16, device=device)
        self._feats_NF[0] = 0.0
        place = 1
        for chunk in _chunks(dataset, is_pinned=device.type == "cuda"):
            # The copy has ended when this returns, so the next chunk may overwrite the buffer.
            self._feats_NF[place : place + len(chunk)].copy_(chunk)
            place += len(chunk)

    def gather(self, places_BT1: Tensor) -> Tensor:
        """Features [B, T, F], float16, at the places of a batch (see `Dataset.collate`)."""
        num_rows, num_frames, _ = places_BT1.shape
        flat = self._feats_NF.index_select(0, places_BT1.flatten())
        return flat.view(num_rows, num_frames, -1)


def resident_features(dataset: Dataset, device: torch.device) -> ResidentFeatures | None:
    """The features of `dataset` on `device`, if it is a GPU and they take at most FREE_SHARE of its
    free memory. A CPU reads them from the store, whose file its memory holds already."""
    if device.type != "cuda":
        return None
    free_bytes, _ = torch.cuda.mem_get_info(device)
    num_bytes = 2 * dataset.num_places * dataset.store.config.num_bins
    return ResidentFeatures(dataset, device) if num_bytes <= FREE_SHARE * free_bytes else None


def _chunks(dataset: Dataset, *, is_pinned: bool) -> Iterator[Tensor]:
    """The frames of all utterances in their order, in one buffer of about CHUNK_BYTES that is
    filled again and again; a longer utterance is a chunk of its own."""
    num_bins = dataset.store.config.num_bins
    most = max(CHUNK_BYTES // (2 * num_bins), int(dataset.num_frames.max()))  # float16: 2 bytes
    size = min(most, dataset.num_places)
    buffer = torch.empty((size, num_bins), dtype=torch.float16, pin_memory=is_pinned)
    frames: npt.NDArray[np.float16] = buffer.numpy()
    filled = 0
    for index, length in enumerate(dataset.num_frames.tolist()):
        if filled + length > size:
            yield buffer[:filled]
            filled = 0
        frames[filled : filled + length] = dataset.stored(index)
        filled += length
    yield buffer[:filled]
