"""Short utterances end to end."""

from pathlib import Path

import pytest
import torch

from bench.costs.joined import joined
from bench.data.audio import read_audio
from bench.data.utterance import Corpus


def test_each_is_as_long_as_asked_and_holds_the_audio_and_text_of_its_parts(
    tone_corpus: Corpus, tmp_path: Path
) -> None:
    long = joined(tone_corpus, 1.5, tmp_path / "joined")
    first, *_ = long.split("train")
    assert all(utterance.seconds >= 1.5 for utterance in long.split("train"))
    texts = [u.text for u in tone_corpus.split("train")]
    assert " ".join(texts).startswith(" ".join(u.text for u in long.split("train")))
    audio = read_audio(first.audio, channel=None, sample_rate_hz=16_000)
    head = read_audio(tone_corpus.split("train")[0].audio, channel=None, sample_rate_hz=16_000)
    assert first.seconds == len(audio) / 16_000
    torch.testing.assert_close(audio[: len(head)], head, atol=1 / 2**15, rtol=0)


def test_watch_stays_and_the_digest_is_another(tone_corpus: Corpus, tmp_path: Path) -> None:
    long = joined(tone_corpus, 1.5, tmp_path / "joined")
    assert long.split("watch") == tone_corpus.split("watch")
    again = joined(tone_corpus, 1.5, tmp_path / "again")
    other = joined(tone_corpus, 2.0, tmp_path / "other")
    assert long.digest == again.digest != other.digest != tone_corpus.digest
    assert [u.audio_digest for u in long.utterances] == [u.audio_digest for u in again.utterances]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_too_short_for_one_is_joined_whole(
    split: str, tone_corpus: Corpus, tmp_path: Path
) -> None:
    long = joined(tone_corpus, 30.0, tmp_path / "joined")
    (only,) = long.split(split)
    assert only.text == " ".join(u.text for u in tone_corpus.split(split))
