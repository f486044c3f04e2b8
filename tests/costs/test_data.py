"""Excerpts and concatenated utterances."""

from pathlib import Path

import pytest
import torch

from bench.core.errors import UserError
from bench.costs.data import concatenated_utterances, evenly_spaced, excerpt
from bench.data.audio import read_audio
from bench.data.store import FeatureStore
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.training.loop import TrainingData


def test_items_are_evenly_spaced() -> None:
    assert evenly_spaced(range(10), 0.5) == [1, 3, 5, 7, 9]
    assert evenly_spaced(range(10), 0.2) == [2, 7]
    assert evenly_spaced(range(10), 1.0) == list(range(10))
    assert evenly_spaced(range(10), 0.001) == [5]
    assert evenly_spaced([], 0.5) == []


def test_the_splits_keep_their_proportion_and_their_lengths(
    tone_corpus: Corpus, store: FeatureStore
) -> None:
    whole = sum(u.seconds for u in tone_corpus.split("train"))
    half = excerpt(
        tone_corpus, store, minutes=whole / 120, output_lengths=lambda lens: lens, units=LETTERS
    )
    assert (len(half.train), len(half.valid), len(half.watch)) == (5, 2, 1)
    assert half.train.seconds == pytest.approx(whole / 2, rel=0.15)


def test_more_minutes_than_there_are_is_all(data: TrainingData, tone_corpus: Corpus) -> None:
    assert {u.id for u in data.train.utterances} == {u.id for u in tone_corpus.split("train")}
    assert {u.id for u in data.valid.utterances} == {u.id for u in tone_corpus.split("valid")}


def test_utterances_with_too_few_output_frames_are_excluded(
    tone_corpus: Corpus, store: FeatureStore
) -> None:
    lengths = torch.tensor([store.lengths[store.row(u.id)] for u in tone_corpus.split("train")])
    part = excerpt(
        tone_corpus,
        store,
        minutes=60,
        # Enough output frames for the longest utterance only.
        output_lengths=lambda lens: torch.where(lens == lengths.max(), 100, 0),
        units=LETTERS,
    )
    assert [u.text for u in part.train.utterances] == ["a dead bee"]
    with pytest.raises(UserError, match="corpus tones must have a train utterance"):
        excerpt(tone_corpus, store, minutes=60, output_lengths=torch.zeros_like, units=LETTERS)


def test_audio_seconds(data: TrainingData) -> None:
    everything = range(len(data.train))
    assert data.train.seconds_of(everything) == pytest.approx(data.train.seconds)


def test_concatenated_utterances_have_the_duration_audio_and_text_of_their_parts(
    tone_corpus: Corpus, tmp_path: Path
) -> None:
    long = concatenated_utterances(tone_corpus, 1.5, tmp_path / "first")
    first, *_ = long.split("train")
    assert all(utterance.seconds >= 1.5 for utterance in long.split("train"))
    texts = [u.text for u in tone_corpus.split("train")]
    assert " ".join(texts).startswith(" ".join(u.text for u in long.split("train")))
    audio = read_audio(first.audio, channel=None, sample_rate_hz=16_000)
    head = read_audio(tone_corpus.split("train")[0].audio, channel=None, sample_rate_hz=16_000)
    assert first.seconds == len(audio) / 16_000
    torch.testing.assert_close(audio[: len(head)], head, atol=1 / 2**15, rtol=0)


def test_the_watch_split_is_unchanged_and_the_digest_depends_on_the_duration(
    tone_corpus: Corpus, tmp_path: Path
) -> None:
    long = concatenated_utterances(tone_corpus, 1.5, tmp_path / "first")
    assert long.split("watch") == tone_corpus.split("watch")
    again = concatenated_utterances(tone_corpus, 1.5, tmp_path / "again")
    other = concatenated_utterances(tone_corpus, 2.0, tmp_path / "other")
    assert long.digest == again.digest != other.digest != tone_corpus.digest
    assert [u.audio_digest for u in long.utterances] == [u.audio_digest for u in again.utterances]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_shorter_than_one_utterance_is_concatenated_whole(
    split: str, tone_corpus: Corpus, tmp_path: Path
) -> None:
    long = concatenated_utterances(tone_corpus, 30.0, tmp_path / "first")
    (only,) = long.split(split)
    assert only.text == " ".join(u.text for u in tone_corpus.split(split))
