"""Decoders from log-probabilities to text: one per file, and a table of them."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from bench.data.units import Units
from bench.decoding.greedy import begin_greedy, greedy

__all__ = ["DECODERS", "Decoder", "begin", "greedy"]

Decoder = Callable[[Tensor, Tensor, Units], list[str]]
"""``decoder(log_probs_BUV, out_lens_B, units)``: the text of each of B utterances."""

DECODERS: Mapping[str, str] = {
    "greedy": "the best symbol of each frame (bench/decoding/greedy.py)",
    "beam": "prefix beam search with a language model (bench/decoding/beam.py)",
}
"""What ``--decoder`` takes, with a summary of each."""


def begin(
    decoder: Decoder, log_probs_BUV: Tensor, out_lens_B: Tensor, units: Units
) -> Callable[[], list[str]]:
    """Start `decoder` without waiting for the device if it can; the result gives its texts."""
    if decoder is greedy:
        return begin_greedy(log_probs_BUV, out_lens_B, units)
    return partial(decoder, log_probs_BUV, out_lens_B, units)
