"""A network that listens: its texts are those of the whole audio."""

import tracemalloc
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.text import ALPHABET
from bench.data.units import LETTERS, Units
from bench.decoding import greedy
from bench.training.evaluate import transcribe
from bench.training.streaming import EndpointRule, Heard, Recogniser
from tests.babbler import STREAMING, babbler

CPU = torch.device("cpu")
listener = partial(babbler, **STREAMING)


def noise(seconds: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(round(16_000 * seconds), generator=generator)


def finals(heard: list[Heard]) -> list[str]:
    return [each.text for each in heard if each.is_final]


@pytest.mark.parametrize("size", [80, 1_600, 100_000])
def test_the_final_text_is_the_offline_one(size: int) -> None:
    trained = listener()
    audio_N = noise(3.0)
    expected = transcribe(trained, audio_N, CPU)
    recogniser = Recogniser(trained, CPU, EndpointRule(blank_seconds=99))
    heard = [each for part in torch.split(audio_N, size) for each in recogniser.push(part)]
    heard += recogniser.push(torch.zeros(0), is_last=True)
    assert expected
    assert finals(heard) == [expected]
    partials = [each.text for each in heard[:-1]]
    assert all(expected.startswith(text) for text in partials)
    assert len(set(partials)) == len(partials)
    assert 0 <= heard[-1].start_seconds < heard[-1].end_seconds <= 3.0


class Script:
    """In place of a network's stream: frames that spell a text, "-" for a blank."""

    stride, look_ahead_frames, mean_look_ahead_frames = 1, 0, 0.0

    def __init__(self, frames: str | Sequence[str], units: Units = LETTERS) -> None:
        self.frames, self.units = frames, units

    def push(self, feats_TF: Tensor, *, is_last: bool) -> Tensor:
        now, self.frames = self.frames[: len(feats_TF)], self.frames[len(feats_TF) :]
        log_probs_UV = torch.zeros(len(now), self.units.num_symbols)
        for row, symbol in enumerate(now):
            label = 0 if symbol == "-" else 1 + self.units.symbols.index(symbol)
            log_probs_UV[row, label] = 1.0
        return log_probs_UV


def told(frames: str | Sequence[str], rule: EndpointRule, units: Units = LETTERS) -> list[Heard]:
    """What is heard of output frames of 20 ms, one at a time."""
    recogniser = Recogniser(listener(units=units), CPU, rule)
    recogniser._stream = Script(frames, units)  # type: ignore[assignment]
    heard = recogniser.push(noise(0.025))
    for _ in frames[1:]:
        heard += recogniser.push(noise(0.01))
    return heard + recogniser.push(torch.zeros(0), is_last=True)


def test_silence_ends_a_text() -> None:
    heard = told("hhi-- you------  bob-----", EndpointRule(blank_seconds=0.1))
    assert finals(heard) == ["hi you", "bob"]
    first = next(each for each in heard if each.is_final)
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0.0, 0.18))
    texts = [each.text for each in heard if not each.is_final]
    assert texts == ["h", "hi", "hi y", "hi yo", "hi you", "b", "bo", "bob"]
    assert finals(told("hi-- you------", EndpointRule(blank_seconds=0.04))) == ["hi", "you"]
    assert told("-- ------ ---", EndpointRule(blank_seconds=0.04)) == []


def test_a_long_text_ends_at_a_space() -> None:
    heard = told("abcdef gh ijk lmn", EndpointRule(blank_seconds=9, max_seconds=0.16))
    assert finals(heard) == ["abcdef gh", "ijk lmn"]


PIECES = Units((" th", " the", "in", " c", " ca", *ALPHABET))


def test_pieces_make_words() -> None:
    frames = [" the", "-", " th", "in", "in", " ca", "t", "-", "-", "-", "-", "-", " c", "a", "t"]
    heard = told(frames, EndpointRule(blank_seconds=0.1), PIECES)
    assert finals(heard) == ["the thin cat", "cat"]
    first = next(each for each in heard if each.is_final)
    assert first.words.seconds == pytest.approx((0.0, 0.06, 0.12))
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0.0, 0.14))
    texts = [each.text for each in heard if not each.is_final]
    assert texts == ["the", "the th", "the thin", "the thin ca", "the thin cat", "c", "ca", "cat"]


def test_a_long_text_of_pieces_ends_before_a_word_begins() -> None:
    frames = [" the", "-", " th", "in", "-", " ca", "t", "-", " the"]
    heard = told(frames, EndpointRule(blank_seconds=9, max_seconds=0.07), PIECES)
    assert finals(heard) == ["the thin", "cat the"]
    log_probs_UV = Script(frames, PIECES).push(torch.zeros(9, 1), is_last=True)
    whole = greedy(log_probs_UV[None], torch.tensor([9]), PIECES)
    assert [" ".join(finals(heard))] == whole


def test_no_audio_is_no_text() -> None:
    assert Recogniser(listener(), CPU).push(torch.zeros(0), is_last=True) == []


def test_networks_and_features_that_cannot_stream_say_why() -> None:
    two_way = listener(**{"model.directions": "sum"})
    with pytest.raises(UserError, match="ds-gru cannot stream: its backward direction begins at"):
        Recogniser(two_way, CPU)
    with pytest.raises(UserError, match=r"needs features\.normalize = corpus, got utterance"):
        Recogniser(listener(None, **{"features.normalize": "utterance"}), CPU)


def test_an_endpoint_is_a_time_above_0() -> None:
    for wrong in ({"blank_seconds": 0.0}, {"max_seconds": -1.0}):
        with pytest.raises(ValueError, match="must be above 0 seconds"):
            EndpointRule(**wrong)


def test_memory_does_not_grow_with_the_audio() -> None:
    """Python's own; the tensors of the stages are held to their need in tests/variants."""
    recogniser = Recogniser(listener(), CPU, EndpointRule(max_seconds=2))
    audio_N = noise(1.0)

    def listen(seconds: int) -> int:
        for _ in range(seconds):
            recogniser.push(audio_N)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = listen(10)
        assert listen(60) < before + 50_000
    finally:
        tracemalloc.stop()
