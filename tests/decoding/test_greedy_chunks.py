"""Greedy decoding in chunks gives the text of the whole."""

import pytest
import torch

from bench.data.text import NUM_SYMBOLS
from bench.decoding import greedy
from bench.decoding.greedy import IncrementalGreedy


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_the_text_is_that_of_the_whole(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few symbols, so that many frames repeat the one before.
    log_probs_UV = torch.full((300, NUM_SYMBOLS), -9.0)
    log_probs_UV[:, :4] = torch.randn((300, 4), generator=generator)
    decoder, frames = IncrementalGreedy(), []
    for chunk_UV in torch.split(log_probs_UV, size):
        frames += decoder.push(chunk_UV)
    assert [frame.number for frame in frames] == list(range(300))
    assert [frame.is_blank for frame in frames] == (log_probs_UV.argmax(-1) == 0).tolist()
    (expected,) = greedy(log_probs_UV[None], torch.tensor([300]))
    assert "".join(frame.symbol for frame in frames) == expected
