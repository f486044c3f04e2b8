"""Decoders from log-probabilities to text: one per file, and a table of them."""

from collections.abc import Callable

from torch import Tensor

from bench.decoding.greedy import greedy

__all__ = ["DECODERS", "Decoder", "greedy"]

Decoder = Callable[[Tensor, Tensor], list[str]]
"""``decoder(log_probs_BUV, out_lens_B)``: the text of each of B utterances."""

DECODERS: dict[str, Decoder] = {"greedy": greedy}
