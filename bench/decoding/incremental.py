"""Greedy decoding of log-probabilities that arrive chunk by chunk.

Legend: U output frames, V symbols.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bench.data.text import BLANK, decode


@dataclass(frozen=True)
class Frame:
    """What an output frame adds to the text."""

    number: int
    """From 0, the utterance's first."""
    is_blank: bool
    """True if the blank is its best symbol."""
    symbol: str
    """A symbol that begins here, or ""."""


class IncrementalGreedy:
    """The best path, frame by frame: the symbols of all frames are the text of `greedy`."""

    def __init__(self) -> None:
        self._num_frames = 0
        self._before = BLANK

    def push(self, log_probs_UV: Tensor) -> Iterator[Frame]:
        """What each of the next frames adds."""
        for best in log_probs_UV.argmax(dim=-1).tolist():
            begins = best not in (BLANK, self._before)
            yield Frame(self._num_frames, best == BLANK, decode([best]) if begins else "")
            self._before = best
            self._num_frames += 1
