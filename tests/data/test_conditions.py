"""Noise, babble and rooms: levels by independent sums, seeds, and what must stay as it was."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.conditions import (
    CONDITION_SETS,
    DIRECT_TO_REVERBERANT_DB,
    TestCondition,
    degrade,
    degraded,
    impulse_response,
)
from bench.data.utterance import Corpus, Snippet, Utterance

RATE = 16_000
WHITE, BABBLE = (TestCondition(kind=kind, snr_db=10.0) for kind in ("white", "babble"))
ROOM = TestCondition(kind="room", rt60_seconds=0.5)


def utterance(folder: Path, id: str, split: str, hertz: float, seconds: float = 1.0) -> Utterance:
    """A tone, so that a speaker can be told from the spectrum."""
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(folder / f"{id}.wav", 0.3 * np.sin(2 * math.pi * hertz * time), RATE)
    return Utterance(
        id=id, audio=folder / f"{id}.wav", sample_rate_hz=RATE, channel=None, text="red",
        speaker=f"s{hertz:g}", split=split, seconds=seconds, audio_digest=id,
    )  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    train = [utterance(tmp_path, f"train{i}", "train", 500.0 + 500 * i, 0.4) for i in range(8)]
    test = [utterance(tmp_path, f"test{i}", "test", 7_000.0, 1.5) for i in range(2)]
    return Corpus(name="tones", utterances=(*train, *test), digest="d")


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(
        10 * np.log10(np.sum(signal.astype(float) ** 2) / np.sum(noise.astype(float) ** 2))
    )


def made(corpus: Corpus, condition: TestCondition, seed: int = 0) -> list[np.ndarray]:
    found = degraded(corpus, condition, seed).split("test")
    return [read_utterance(u, RATE).numpy() for u in found]


def test_the_set_noise_has_the_levels_that_it_states() -> None:
    assert [condition.name for condition in CONDITION_SETS["noise"]] == [
        "white-20db", "white-10db", "white-5db", "white-0db",
        "babble-20db", "babble-10db", "babble-5db", "babble-0db", "room-0.5s",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["white", "babble"])
def test_noise_has_the_level_asked_for_and_is_the_same_at_every_level(
    kind: str, corpus: Corpus
) -> None:
    voices = {u.speaker: [u] for u in corpus.split("train")}
    noises = []
    for snr_db in (20.0, 0.0):
        condition = TestCondition(kind=kind, snr_db=snr_db)  # type: ignore[arg-type]
        for test in corpus.split("test"):
            clean = read_utterance(test, RATE).numpy()
            noise = degrade(clean, condition, RATE, test.id, voices, 0) - clean
            assert decibels(clean, noise) == pytest.approx(snr_db, abs=0.01)
            noises.append(noise / np.linalg.norm(noise))
    np.testing.assert_allclose(noises[0], noises[2], atol=1e-5)
    assert abs(noises[0] @ noises[1]) < 0.9  # another utterance, other noise


def test_babble_is_of_six_training_speakers_at_one_level(corpus: Corpus) -> None:
    voices = {u.speaker: [u] for u in corpus.split("train")}
    test = corpus.split("test")[0]
    clean = read_utterance(test, RATE).numpy()
    noise = degrade(clean, BABBLE, RATE, test.id, voices, 0) - clean
    powers = np.abs(np.fft.rfft(noise * np.hanning(len(noise)))) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    bands = [powers[np.abs(hertz - (500 + 500 * i)) < 100].sum() for i in range(8)]
    heard = [band for band in bands if band > 0.01 * max(bands)]
    assert len(heard) == 6
    assert min(heard) > 0.5 * max(heard)
    assert powers[np.abs(hertz - 7_000) < 100].sum() < 0.01 * max(bands)


def test_a_room_decays_by_60_db_in_its_reverberation_time() -> None:
    response = impulse_response(0.5, RATE, np.random.default_rng(0)).astype(float)
    assert response[0] == 1.0
    direct = 10 * math.log10(1.0 / np.sum(response[1:] ** 2))
    assert direct == pytest.approx(DIRECT_TO_REVERBERANT_DB, abs=0.01)
    # Schroeder's backward integral falls by 60 dB in RT60; its slope is read between -5 and -25 dB.
    energy = np.cumsum(response[:0:-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    first, last = np.searchsorted(-level, [5, 25])
    assert 60 * (last - first) / 20 / RATE == pytest.approx(0.5, rel=0.1)


def test_a_room_keeps_length_and_level_and_begins_with_the_direct_path(corpus: Corpus) -> None:
    test = corpus.split("test")[0]
    click = np.zeros(RATE, np.float32)
    click[100] = 0.5
    wet = degrade(click, ROOM, RATE, test.id, {}, 0)
    assert len(wet) == len(click)
    assert decibels(click, wet) == pytest.approx(0.0, abs=0.01)
    assert int(np.abs(wet).argmax()) == 100
    assert np.abs(wet[:100]).max() < 1e-5


def test_only_the_recordings_of_test_change(corpus: Corpus) -> None:
    found = degraded(corpus, WHITE, 0)
    tests = corpus.split("test")
    assert [(u.id, u.text, u.speaker, u.seconds) for u in found.utterances] == [
        (u.id, u.text, u.speaker, u.seconds) for u in tests
    ]
    assert found.digest != corpus.digest
    assert {u.audio_digest for u in found.utterances}.isdisjoint({u.audio_digest for u in tests})


def test_seeds_and_conditions_make_other_files_and_the_same_ones_are_kept(corpus: Corpus) -> None:
    first = degraded(corpus, WHITE, 0)
    before = [u.audio.stat().st_mtime_ns for u in first.utterances]
    again = degraded(corpus, WHITE, 0)
    assert again == first
    assert [u.audio.stat().st_mtime_ns for u in again.utterances] == before
    for other in (degraded(corpus, WHITE, 1), degraded(corpus, BABBLE, 0),
                  degraded(replace(corpus, digest="e"), WHITE, 0)):  # fmt: skip
        assert other.digest != first.digest
    assert not np.array_equal(made(corpus, WHITE, 0)[0], made(corpus, WHITE, 1)[0])


def test_what_would_clip_is_turned_down_with_its_noise(corpus: Corpus) -> None:
    (loud, _) = made(corpus, TestCondition(kind="white", snr_db=-20.0))
    assert np.abs(loud).max() == pytest.approx(0.999, abs=1e-3)
    assert (np.abs(loud) > 0.998).sum() < 3  # clipped, hundreds of samples would be there


def test_snippets_and_channels_are_read_before_the_noise(tmp_path: Path) -> None:
    samples = np.stack([np.full(RATE, 0.1), np.linspace(0, 0.5, RATE)], axis=1)
    soundfile.write(tmp_path / "two.wav", samples, RATE)
    test = Utterance(
        id="x", audio=tmp_path / "two.wav", sample_rate_hz=RATE, channel=1, text="red", speaker="s",
        split="test", seconds=0.5, audio_digest="x", snippet=Snippet(start_seconds=0.5, seconds=0.5),
    )  # fmt: skip
    corpus = Corpus(name="c", utterances=(test,), digest="d")
    (read,) = made(corpus, TestCondition(kind="white", snr_db=60.0))
    np.testing.assert_allclose(read, samples[RATE // 2 :, 1], atol=2e-3)
    (found,) = degraded(corpus, TestCondition(kind="white", snr_db=60.0), 0).utterances
    assert (found.channel, found.snippet) == (None, None), "its own recording, of one channel"


def test_babble_needs_speakers(corpus: Corpus) -> None:
    alone = replace(corpus, utterances=(corpus.utterances[0], *corpus.split("test")))
    with pytest.raises(UserError, match=r"two or more, and corpus tones has 1; name speakers, or"):
        degraded(alone, BABBLE, 0)
