"""Test conditions: the test utterances of a corpus in noise, among other voices, or in a room.

A condition is made from the corpus alone, with seeds, so that it is the same for every system and
on every machine. One utterance has the same noise, voices and room under all conditions of a kind,
so that conditions of a kind differ in nothing but the level.

white    Gaussian white noise
babble   a sum of NUM_VOICES speakers of the train split, each at the same level
room     the utterance convolved with exponentially decaying noise after a direct path, by which
         diffuse reverberation is modelled (Polack 1988), of the stated reverberation time RT60

A ratio of signal to noise (SNR) is that of the mean powers of the utterance as it was recorded, its
own noise and pauses included, and of what is added.

Legend: N samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from scipy.signal import fftconvolve

from bench.core.config import digest
from bench.core.cores import ordered_map
from bench.core.errors import UserError
from bench.core.paths import cache_folder, made_once
from bench.core.seeding import numpy_generator
from bench.data.audio import read_utterance
from bench.data.recording import FloatArray
from bench.data.utterance import Corpus, Utterance

CONDITIONS_VERSION = "1"
"""Raised when a condition gives other samples: results are then not comparable."""

NUM_VOICES = 6
DIRECT_TO_REVERBERANT_DB = 0.0
"""Energy of the direct path above that of the decay."""
_LOUDEST = 0.999
_DECAY = math.log(1e6) / 2
"""RT60 is the time in which the energy falls by 60 dB, the amplitude by a factor of 1,000."""


@dataclass(frozen=True, kw_only=True)
class TestCondition:
    """What is done to the test utterances."""

    __test__ = False  # pytest would collect it by its name

    kind: Literal["white", "babble", "room"]
    snr_db: float | None = None
    """Of white and babble."""
    rt60_seconds: float | None = None
    """Of a room."""

    @property
    def name(self) -> str:
        """Also of its folder: "babble-10db", "room-0.5s"."""
        if self.snr_db is not None:
            return f"{self.kind}-{self.snr_db:g}db"
        return f"{self.kind}-{self.rt60_seconds:g}s"

    @property
    def title(self) -> str:
        """In words."""
        if self.snr_db is not None:
            return f"{self.kind}, {self.snr_db:g} dB"
        return f"{self.kind}, RT60 {self.rt60_seconds:g} s"


CONDITION_SETS: Mapping[str, tuple[TestCondition, ...]] = {
    "noise": (
        *(
            TestCondition(kind=kind, snr_db=snr_db)
            for kind in ("white", "babble")
            for snr_db in (20.0, 10.0, 5.0, 0.0)
        ),
        TestCondition(kind="room", rt60_seconds=0.5),
    )
}
"""What ``--conditions`` takes."""


def degraded(corpus: Corpus, condition: TestCondition, seed: int) -> Corpus:
    """The test split of `corpus` under `condition`, as a corpus of its own with the same ids, texts
    and speakers; its recordings are made once, in the cache.

    Raises:
        UserError: babble from a corpus with fewer than two training speakers; audio that cannot be
            read.
        UnwritableError: the cache cannot be written.
    """
    test = corpus.split("test")
    ids = [u.id for u in test]
    # All that the recordings are made from: the folder's name is never out of date.
    key = digest([CONDITIONS_VERSION, corpus.digest, ids, asdict(condition), seed])
    voices = _voices(corpus) if condition.kind == "babble" else {}

    def record(folder: Path) -> None:
        for _ in ordered_map(partial(_write, folder, condition, voices, seed), enumerate(test)):
            pass

    folder = made_once(cache_folder("conditions") / f"{condition.name}-{key}", record)
    return Corpus(
        name=f"{corpus.name}, {condition.title}",
        utterances=tuple(
            replace(
                u,
                audio=_file(folder, place),
                channel=None,
                snippet=None,
                audio_digest=digest([key, u.id]),
            )
            for place, u in enumerate(test)
        ),
        notes=corpus.notes,
        digest=digest([corpus.digest, key]),
    )


def _voices(corpus: Corpus) -> dict[str, list[Utterance]]:
    """The training utterances of each speaker."""
    voices: dict[str, list[Utterance]] = {}
    for utterance in corpus.split("train"):
        voices.setdefault(utterance.speaker, []).append(utterance)
    if len(voices) < 2:
        raise UserError(
            f"babble is a sum of training speakers, two or more, and corpus {corpus.name} has "
            f"{len(voices)}; name speakers, or leave --conditions out"
        )
    return voices


def _file(folder: Path, place: int) -> Path:
    return folder / f"{place:06d}.flac"


def _write(
    folder: Path,
    condition: TestCondition,
    voices: Mapping[str, Sequence[Utterance]],
    seed: int,
    placed: tuple[int, Utterance],
) -> None:
    place, utterance = placed
    rate = utterance.sample_rate_hz
    clean_N = read_utterance(utterance, rate).numpy()
    made_N = degrade(clean_N, condition, rate, utterance.id, voices, seed)
    # A recorder too turns down what would clip; signal and noise keep their ratio.
    made_N = made_N * min(1.0, _LOUDEST / max(float(np.abs(made_N).max()), 1e-9))
    soundfile.write(_file(folder, place), made_N, rate, format="FLAC", subtype="PCM_16")


def degrade(
    clean_N: FloatArray,
    condition: TestCondition,
    sample_rate_hz: int,
    id: str,
    voices: Mapping[str, Sequence[Utterance]],
    seed: int,
) -> FloatArray:
    """The samples of utterance `id` under `condition`, as many as before; `voices` are the training
    utterances of each speaker, for babble."""
    # The level has no part in it: at each the noise is the same, only louder.
    rng = numpy_generator(seed, f"test condition {condition.kind}/{id}")
    if condition.kind == "room":
        assert condition.rt60_seconds is not None
        return _in_room(clean_N, impulse_response(condition.rt60_seconds, sample_rate_hz, rng))
    assert condition.snr_db is not None
    if condition.kind == "white":
        noise_N: FloatArray = rng.standard_normal(len(clean_N)).astype(np.float32)
    else:
        noise_N = _babble(len(clean_N), sample_rate_hz, voices, rng)
    # SNR in dB = 10 log10(P(clean) / (gain² P(noise))), solved for the gain.
    gain = math.sqrt(_power(clean_N) / max(_power(noise_N), 1e-12) / 10 ** (condition.snr_db / 10))
    return (clean_N + gain * noise_N).astype(np.float32)


def _babble(
    num_samples: int,
    sample_rate_hz: int,
    voices: Mapping[str, Sequence[Utterance]],
    rng: np.random.Generator,
) -> FloatArray:
    """A sum of speakers at equal power, each saying utterances one after the other."""
    names = sorted(voices)
    total_N = np.zeros(num_samples, np.float32)
    for name in rng.choice(len(names), min(NUM_VOICES, len(names)), replace=False):
        own, pieces, length = voices[names[name]], [], 0
        skipped = int(rng.integers(0, sample_rate_hz))  # they do not all begin at once
        while length < num_samples + skipped:
            said = own[int(rng.integers(len(own)))]
            pieces.append(read_utterance(said, sample_rate_hz).numpy())
            length += len(pieces[-1])
        voice_N = np.concatenate(pieces)[skipped : skipped + num_samples]
        total_N += voice_N / math.sqrt(max(_power(voice_N), 1e-12))
    return total_N


def impulse_response(
    rt60_seconds: float, sample_rate_hz: int, rng: np.random.Generator
) -> FloatArray:
    """A direct path, then Gaussian noise whose energy falls by 60 dB in `rt60_seconds`."""
    num_samples = max(2, round(rt60_seconds * sample_rate_hz))
    time_N = np.arange(1, num_samples) / sample_rate_hz
    decay_N = rng.standard_normal(num_samples - 1) * np.exp(-_DECAY * time_N / rt60_seconds)
    # The direct path has an energy of 1; all that follows it has that many decibels less.
    decay_N /= math.sqrt(np.square(decay_N).sum() * 10 ** (DIRECT_TO_REVERBERANT_DB / 10))
    return np.concatenate([[1.0], decay_N]).astype(np.float32)


def _in_room(clean_N: FloatArray, response_N: FloatArray) -> FloatArray:
    """`clean_N` convolved, at its own power; what rings after its last sample is cut off."""
    wet_N = fftconvolve(clean_N, response_N)[: len(clean_N)]
    gain = math.sqrt(_power(clean_N) / max(_power(wet_N), 1e-12))
    return np.asarray(gain * wet_N, dtype=np.float32)


def _power(samples_N: FloatArray) -> float:
    return float(np.square(samples_N, dtype=np.float64).mean()) if len(samples_N) else 0.0
