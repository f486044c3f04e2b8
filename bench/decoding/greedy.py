"""Greedy (best path) decoding of CTC outputs, whole or chunk by chunk: Graves et al. 2006,
section 3.2.

Legend: B utterances, U output frames, V symbols.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data.text import BLANK
from bench.data.units import Units


def greedy(log_probs_BUV: Tensor, out_lens_B: Tensor, units: Units) -> list[str]:
    """The text of each utterance: the best symbol of each frame, repeats merged, blanks removed.

    `out_lens_B` is int64 frames, on any device; `units` say what the symbols stand for.
    """
    return begin_greedy(log_probs_BUV, out_lens_B, units)()


def begin_greedy(
    log_probs_BUV: Tensor, out_lens_B: Tensor, units: Units
) -> Callable[[], list[str]]:
    """Start `greedy` without waiting for the device; the result waits for it and spells the texts.

    Symbols are selected on the device of the log-probabilities for all utterances at once, and
    copied to the host in one transfer.
    """
    # Frames of one utterance, "-" for the blank; what remains is "hello":
    #
    #     best      - h h - e l l - l o o
    #     begins    1 1 0 1 1 1 0 1 1 1 0      differs from the frame before
    #     symbols   - h - - e l - - l o -
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
        return [units.decode(symbols_U[symbols_U != BLANK].tolist()) for symbols_U in host_BU]

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


@dataclass(frozen=True)
class Frame:
    """What an output frame adds to the text."""

    number: int
    """From 0, the utterance's first."""
    is_blank: bool
    """True if the blank is its best symbol."""
    symbol: str
    """The text of a symbol that begins here, or ""."""


class IncrementalGreedy:
    """The best path, frame by frame: the symbols of all frames are the text of `greedy`, pieces
    with the space that begins the first word."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._num_frames = 0
        self._before = BLANK

    def push(self, log_probs_UV: Tensor) -> Iterator[Frame]:
        """What each of the next frames adds."""
        for best in log_probs_UV.argmax(dim=-1).tolist():
            begins = best not in (BLANK, self._before)
            symbol = self._units.text_of(best) if begins else ""
            yield Frame(self._num_frames, best == BLANK, symbol)
            self._before = best
            self._num_frames += 1
