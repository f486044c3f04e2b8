from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.data.text import BLANK
from bench.data.units import LETTERS
from bench.decoding import greedy
from bench.decoding.greedy import IncrementalGreedy


def spelled_out(log_probs_UV: Tensor, length: int) -> str:
    """The textbook, one frame at a time."""
    best = [
        max(range(LETTERS.num_symbols), key=frame.__getitem__) for frame in log_probs_UV.tolist()
    ]
    return LETTERS.decode(symbol for symbol, _ in groupby(best[:length]) if symbol != BLANK)


def frames(symbols: list[int]) -> Tensor:
    """Log-probabilities [U, V] whose best symbols are `symbols`."""
    return torch.eye(LETTERS.num_symbols)[symbols].log_softmax(dim=-1)


@given(st.integers(0, 2**31), st.lists(st.integers(0, 12), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_textbook(seed: int, lengths: list[int]) -> None:
    rng = torch.Generator().manual_seed(seed)
    # Few symbols, so that repeats and blanks abound.
    best_BU = torch.randint(0, 4, (len(lengths), max(max(lengths), 1)), generator=rng)
    log_probs_BUV = torch.stack([frames(row.tolist()) for row in best_BU])
    expected = [spelled_out(row, n) for row, n in zip(log_probs_BUV, lengths, strict=True)]
    assert greedy(log_probs_BUV, torch.tensor(lengths), LETTERS) == expected


def test_a_blank_keeps_a_double_letter_and_a_repeat_does_not() -> None:
    a, b = LETTERS.encode("ab")
    log_probs_BUV = torch.stack([frames([a, a, BLANK, a, b]), frames([BLANK, a, a, b, b])])
    assert greedy(log_probs_BUV, torch.tensor([5, 5]), LETTERS) == ["aab", "ab"]


def test_frames_beyond_the_length_are_never_read() -> None:
    a, b = LETTERS.encode("ab")
    log_probs_BUV = torch.stack([frames([a, b, a, b]), frames([a, b, a, b])])
    assert greedy(log_probs_BUV, torch.tensor([2, 0]), LETTERS) == ["ab", ""]


def test_the_last_frame_does_not_run_into_the_first() -> None:
    (a,) = LETTERS.encode("a")
    assert greedy(frames([a, BLANK, a])[None], torch.tensor([3]), LETTERS) == ["aa"]
    assert greedy(frames([a])[None], torch.tensor([1]), LETTERS) == ["a"]


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_the_text_in_chunks_is_that_of_the_whole(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few symbols, so that many frames repeat the one before.
    log_probs_UV = torch.full((300, LETTERS.num_symbols), -9.0)
    log_probs_UV[:, :4] = torch.randn((300, 4), generator=generator)
    decoder, frames = IncrementalGreedy(LETTERS), []
    for chunk_UV in torch.split(log_probs_UV, size):
        frames += decoder.push(chunk_UV)
    assert [frame.number for frame in frames] == list(range(300))
    assert [frame.is_blank for frame in frames] == (log_probs_UV.argmax(-1) == 0).tolist()
    (expected,) = greedy(log_probs_UV[None], torch.tensor([300]), LETTERS)
    assert "".join(frame.symbol for frame in frames) == expected
