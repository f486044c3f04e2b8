"""What a user of a network waits for."""

import dataclasses

import pytest
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.costs import latency
from bench.costs.latency import (
    Network,
    Spoken,
    align,
    align_all,
    last_frames,
    matched,
    measure_latency,
)
from bench.data.text import ALPHABET
from bench.data.units import LETTERS, Units
from bench.data.utterance import Corpus
from bench.training.streaming import EndpointRule
from reports.measurements import LatencyRow
from tests.babbler import STREAMING, babbler
from variants.spec import AcousticModel

CPU = torch.device("cpu")


def network(run: str = "a/confirm-000", **settings: object) -> Network:
    """A network that hears nonsense."""
    return Network(**vars(babbler(**STREAMING | settings)), run=run)


class Speller(AcousticModel):
    """Spells a text with one frame a symbol, "-" for a blank, over the whole utterance."""

    def __init__(self, frames: str) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_UV = torch.full((len(self.frames), 29), -9.0)
        for row, symbol in enumerate(self.frames):
            log_probs_UV[row, 0 if symbol == "-" else LETTERS.encode(symbol)[0]] = -0.01
        return log_probs_UV[None], torch.tensor([len(self.frames)])


def speller(frames: str) -> Network:
    return dataclasses.replace(network("speller"), network=Speller(frames))


def test_the_last_frames_of_a_path() -> None:
    assert last_frames([0, 3, 3, 0, 3, 4, 4]) == [2, 4, 6]
    assert last_frames([1, 0, 0]) == [0]
    assert last_frames([0, 0]) == []


def test_words_that_are_right_are_matched() -> None:
    assert list(matched(["a", "b", "c", "d"], ["a", "x", "c", "d", "e"])) == [
        (0, 0),
        (2, 2),
        (3, 3),
    ]
    assert list(matched(["a"], [])) == []


def test_a_word_ends_with_its_last_letter(tone_corpus: Corpus) -> None:
    utterance = dataclasses.replace(tone_corpus.split("valid")[0], text="ab c")
    frames = "--aab-- -c"
    spoken = align(speller(frames), utterance)
    assert spoken is not None
    frame = utterance.seconds / len(frames)
    assert spoken.word_ends == pytest.approx((5 * frame, 10 * frame))
    assert align(speller("ab"), utterance) is None
    with pytest.raises(UserError, match=r"speller has fewer for all 2 utterances; name another"):
        align_all(speller("ab"), [utterance] * 2, lambda done, total: None)


def test_a_word_ends_before_the_piece_that_begins_the_next(tone_corpus: Corpus) -> None:
    units = Units((" a", " ab", " c", *ALPHABET))
    utterance = dataclasses.replace(tone_corpus.split("valid")[0], text="abb c ab")
    ab, b, c, _ = units.encode(utterance.text)
    labels = [0, ab, ab, b, 0, c, 0, 0, ab, ab]
    log_probs_UV = torch.full((len(labels), units.num_symbols), -9.0)
    log_probs_UV[torch.arange(len(labels)), torch.tensor(labels)] = -0.01
    model = Speller("")
    model.forward = lambda *_: (log_probs_UV[None], torch.tensor([len(labels)]))  # type: ignore[method-assign]
    spoken = align(dataclasses.replace(network("p"), network=model, units=units), utterance)
    assert spoken is not None
    frame = utterance.seconds / len(labels)
    assert spoken.word_ends == pytest.approx((4 * frame, 6 * frame, 10 * frame))


def measured(of: Network, spoken: list[Spoken], aligner: str = "speller") -> LatencyRow:
    return measure_latency(
        of,
        spoken,
        study="s",
        system="a",
        aligner=aligner,
        device=CPU,
        chunk_seconds=0.05,
        endpoint=EndpointRule(blank_seconds=0.2),
    )


@pytest.fixture
def spoken(tone_corpus: Corpus) -> list[Spoken]:
    """Their texts are what the tiny network hears, so that there are words to match."""
    found = []
    for utterance in tone_corpus.split("valid")[:3]:
        heard = latency._whole(network(), utterance, CPU).words
        changed = dataclasses.replace(utterance, text=" ".join(heard))
        ends = tuple(0.1 * (place + 1) for place in range(len(heard)))
        found.append(Spoken(utterance=changed, word_ends=ends))
    return found


def test_a_stream_is_measured(spoken: list[Spoken]) -> None:
    row = measured(network(), spoken)
    assert row.num_words == sum(len(each.word_ends) for each in spoken)
    assert row.num_emissions > 0
    # Kernel 5, padding 2: two frames of 10 ms ahead, and a window of 25 ms.
    assert (row.look_ahead_ms, row.mean_look_ahead_ms) == pytest.approx((45, 45))
    assert row.emission_p50_ms is not None
    total = row.mean_look_ahead_ms + row.compute_p50_ms + row.emission_p50_ms
    assert row.user_perceived_ms == pytest.approx(total)
    assert row.compute_p50_ms <= row.compute_p90_ms <= row.compute_p99_ms
    assert (row.chunk_ms, row.endpoint_ms, row.cannot_stream) == (50, 200, "")
    assert 0 <= row.unstable_share < 1


def test_a_network_in_two_directions_waits_for_the_end(spoken: list[Spoken]) -> None:
    row = measured(network(**{"model.directions": "sum"}), spoken)
    seconds = [each.utterance.seconds for each in spoken]
    assert row.look_ahead_ms == pytest.approx(1000 * max(seconds))
    assert row.mean_look_ahead_ms == pytest.approx(500 * sum(seconds) / 3)
    assert row.unstable_share == 0
    assert "backward" in row.cannot_stream


def test_the_aligner_does_not_measure_itself(spoken: list[Spoken]) -> None:
    row = measured(network("speller"), spoken)
    assert (row.emission_p50_ms, row.emission_p90_ms, row.user_perceived_ms) == (None,) * 3


def test_emission_is_from_the_end_of_a_word_to_its_last_peak(spoken: list[Spoken]) -> None:
    utterance = dataclasses.replace(spoken[0].utterance, text="a b c")
    session = latency._Session(words=["a", "x", "c"], peak_seconds=[0.5, 0.9, 1.6])
    said = Spoken(utterance=utterance, word_ends=(0.4, 0.8, 1.7))
    assert latency._emissions([session], [said]) == pytest.approx([100, -100])


def test_words_that_change_are_unstable() -> None:
    shown = [["h"], ["hi"], ["hi", "y"], ["hi", "you"]]
    session = latency._Session(words=["hi", "you"], shown=shown)
    assert latency._unstable_share([session]) == pytest.approx(2 / 6)
    assert latency._unstable_share([latency._Session()]) == 0


def test_a_final_text_comes_after_the_endpoint(
    spoken: list[Spoken], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of words that end with the utterance: the blanks of the endpoint, and what it waits for."""
    silent = network()
    silent.network.output.bias.data[0] += 1e4  # only blanks
    row = measured(silent, spoken)
    ends = [each.word_ends[-1] for each in spoken]
    waits = sorted(e.utterance.seconds + 0.4 - end for e, end in zip(spoken, ends, strict=True))
    assert row.finalisation_ms == pytest.approx(1000 * waits[1], abs=1)
