"""A part of a corpus stands for the whole."""

import pytest
import torch

from bench.core.errors import UserError
from bench.costs.excerpt import audio_seconds, excerpt, spread
from bench.data.store import FeatureStore
from bench.data.utterance import Corpus
from bench.training.loop import TrainingData


def test_spread_takes_items_at_even_distances() -> None:
    assert spread(range(10), 0.5) == [1, 3, 5, 7, 9]
    assert spread(range(10), 0.2) == [2, 7]
    assert spread(range(10), 1.0) == list(range(10))
    assert spread(range(10), 0.001) == [5]
    assert spread([], 0.5) == []


def test_the_splits_keep_their_proportion_and_their_lengths(
    tone_corpus: Corpus, store: FeatureStore
) -> None:
    whole = sum(u.seconds for u in tone_corpus.split("train"))
    half = excerpt(tone_corpus, store, minutes=whole / 120, output_lengths=lambda lens: lens)
    assert (len(half.train), len(half.valid), len(half.watch)) == (5, 2, 1)
    assert half.train.seconds == pytest.approx(whole / 2, rel=0.15)


def test_more_minutes_than_there_are_is_all(data: TrainingData, tone_corpus: Corpus) -> None:
    assert {u.id for u in data.train.utterances} == {u.id for u in tone_corpus.split("train")}
    assert {u.id for u in data.valid.utterances} == {u.id for u in tone_corpus.split("valid")}


def test_what_a_network_cannot_spell_is_left_out(tone_corpus: Corpus, store: FeatureStore) -> None:
    lengths = torch.tensor([store.num_frames(u.id) for u in tone_corpus.split("train")])
    part = excerpt(
        tone_corpus,
        store,
        minutes=60,
        # Frames enough for the longest alone.
        output_lengths=lambda lens: torch.where(lens == lengths.max(), 100, 0),
    )
    assert [u.text for u in part.train.utterances] == ["a dead bee"]
    with pytest.raises(UserError, match="corpus tones must have a train utterance"):
        excerpt(tone_corpus, store, minutes=60, output_lengths=torch.zeros_like)


def test_audio_seconds(data: TrainingData) -> None:
    everything = range(len(data.train))
    assert audio_seconds(data.train, everything) == pytest.approx(data.train.seconds)
