"""Synthesises a plan: ``python -m bench.data.corpora.synthesis FOLDER``.

Reads plan.jsonl in the folder, writes one WAV beside it for each line, and prints the number of
lines done. If the disk is full or not writable, the last printed line is the errno.

A separate process, since eSpeak NG has hidden state: the same text twice in one process gives
different samples, but a fresh process that speaks the same plan in the same order gives the same
bytes.
"""

import ctypes
import io
import json
import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray

from bench.core.config import from_dict
from bench.core.errors import DISK_IS_FULL, NOT_WRITABLE, named
from bench.core.memory import is_out_of_memory
from bench.data.corpora.voices import Line, Voice

PLAN = "plan.jsonl"
SAMPLE_RATE_HZ = 16_000

Samples = NDArray[np.float64]

# From eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

_SEED = 1
_PEAK = 0.98
_FULL_SCALE = 32_768


class Espeak:
    """The library, through ctypes; one per process."""

    def __init__(self) -> None:
        loader = import_module("espeakng_loader")
        self._library = ctypes.CDLL(loader.get_library_path())
        # The library truncates long paths to its data; a relative path is short.
        os.chdir(Path(loader.get_data_path()).parent)
        self.sample_rate_hz = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError(f"eSpeak NG finds no data in {Path.cwd()}")
        self._chunks: list[bytes] = []
        # An attribute, so that it is not garbage-collected while the C library refers to it.
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        # Breath and flutter are random, by default seeded with the time.
        self._check(self._library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED)), "seed")

    def _collect(
        self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: int | None
    ) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(self, text: str, voice: Voice) -> Samples:
        """`text` in `voice`: samples [N] in -1 to 1 at `sample_rate_hz`."""
        self._check(self._library.espeak_SetVoiceByName(voice.name.encode()), voice.name)
        self._check(self._library.espeak_SetParameter(_RATE, voice.words_per_minute, 0), "rate")
        self._check(self._library.espeak_SetParameter(_PITCH, voice.pitch, 0), "pitch")
        self._chunks.clear()
        spelled = text.encode() + b"\0"
        status = self._library.espeak_Synth(
            spelled, len(spelled), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        self._check(status, text)
        return np.frombuffer(b"".join(self._chunks), np.int16).astype(np.float64) / _FULL_SCALE

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"eSpeak NG refuses {what!r} with status {status}")


def recorded(speech: Samples, line: Line) -> NDArray[np.int16]:
    """`speech` at 16 kHz at the level of `line`, with its margins and noise; int16 [N]."""
    # Decibels of amplitudes: 20 log10 of their ratio. A peak that would be clipped lowers the whole
    # utterance, and with it the noise, which keeps its distance.
    audio: Samples = speech * (10 ** (line.level_db / 20) / np.sqrt(np.mean(speech**2)))
    audio = audio * min(1.0, _PEAK / np.abs(audio).max())
    noise_rms = np.sqrt(np.mean(audio**2)) / 10 ** (line.snr_db / 20)
    audio = np.pad(audio, round(line.margin_s * SAMPLE_RATE_HZ))
    audio = audio + noise_rms * _noise(len(audio), line)
    return np.clip(np.round(audio * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _noise(num_samples: int, line: Line) -> Samples:
    """Noise [num_samples] with a root mean square of 1."""
    # The length is a power of two, for which the FFT is fast, and is truncated afterwards.
    noise = np.random.default_rng(line.noise_seed).standard_normal(1 << num_samples.bit_length())
    if line.noise == "pink":
        spectrum = np.fft.rfft(noise)
        # Pink: the power falls as 1 / f, so amplitudes as 1 / sqrt(f). The constant part, at f = 0,
        # is left as it is.
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))))
    noise = noise[:num_samples]
    scaled: Samples = noise / np.sqrt(np.mean(noise**2))
    return scaled


def main(folder: Path) -> None:
    """Speak the plan in `folder`."""
    folder = folder.resolve()
    plan = [json.loads(line) for line in (folder / PLAN).read_text("utf-8").splitlines()]
    torch.set_num_threads(1)
    espeak = Espeak()
    # In float64: machines differ in the last digits, which rounding to 16 bits removes.
    resample = torchaudio.transforms.Resample(
        espeak.sample_rate_hz, SAMPLE_RATE_HZ, dtype=torch.float64
    )
    for done, fields in enumerate(plan, start=1):
        line = from_dict(Line, fields)
        speech = resample(torch.from_numpy(espeak.speak(line.text, line.voice))).numpy()
        samples = recorded(speech, line)
        wav = io.BytesIO()
        soundfile.write(wav, samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
        # Not by libsndfile, whose error for every reason is "System error".
        (folder / f"{line.id}.wav").write_bytes(wav.getbuffer())
        print(done, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        if is_out_of_memory(error):
            print(named(error))
            sys.exit(os.EX_OSERR)
        if isinstance(error, OSError) and error.errno in (*DISK_IS_FULL, *NOT_WRITABLE):
            print(error.errno)
            sys.exit(os.EX_IOERR)
        raise
