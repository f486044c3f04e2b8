"""Decoders from log-probabilities to text: one per file, and a table of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from bench.decoding.beam import BeamConfig, BeamSearch
from bench.decoding.greedy import begin_greedy, greedy
from bench.decoding.language_model import LanguageModel

__all__ = ["DECODERS", "Decoder", "DecoderSpec", "begin", "greedy"]

Decoder = Callable[[Tensor, Tensor], list[str]]
"""``decoder(log_probs_BUV, out_lens_B)``: the text of each of B utterances."""


@dataclass(frozen=True)
class DecoderSpec:
    """A row of the table."""

    summary: str
    make: Callable[[BeamConfig, LanguageModel], Decoder] | None
    """None of the one that needs neither settings nor a language model: `greedy`."""


DECODERS: Mapping[str, DecoderSpec] = {
    "greedy": DecoderSpec("the best symbol of each frame", None),
    "beam": DecoderSpec("prefix beam search with a language model", BeamSearch),
}


def begin(decoder: Decoder, log_probs_BUV: Tensor, out_lens_B: Tensor) -> Callable[[], list[str]]:
    """Start `decoder` without waiting for the device if it can; the result gives its texts."""
    if decoder is greedy:
        return begin_greedy(log_probs_BUV, out_lens_B)
    return partial(decoder, log_probs_BUV, out_lens_B)
