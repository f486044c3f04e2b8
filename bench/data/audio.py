"""Reading recordings as tensors at a given sample rate."""

import math
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor

from bench.data.recording import (
    check_snippet,
    count_frames,
    open_recording,
    snippet_range,
    unreadable,
)
from bench.data.streaming import MAX_RESAMPLING_TAPS
from bench.data.utterance import Snippet, Utterance


def read_utterance(utterance: Utterance, sample_rate_hz: int) -> Tensor:
    """The samples of `utterance`, as `read_audio` gives them."""
    return read_audio(
        utterance.audio,
        channel=utterance.channel,
        sample_rate_hz=sample_rate_hz,
        snippet=utterance.snippet,
    )


def read_audio(
    path: Path, *, channel: int | None, sample_rate_hz: int, snippet: Snippet | None = None
) -> Tensor:
    """The samples of `path`, or of a `snippet` of it: float32 [N] in -1 to 1, resampled to
    `sample_rate_hz`. `channel` counts from 0; None: there is only one.

    Raises:
        AudioError: a recording that cannot be read to its end, several channels with none (or one
            that is not there) named, a snippet outside its recording.
    """
    with open_recording(path) as recording:
        rate = recording.sample_rate_hz
        start, stop = snippet_range(snippet, rate)
        pieces = list(recording.blocks(channel, start, stop))
    samples_N = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    # One that came out whole lies in its recording; for others all of that is decoded.
    if snippet is not None and (stop is None or len(samples_N) != stop - start):
        check_snippet(path, snippet, count_frames(path, channel), rate)
    audio_N = torch.from_numpy(samples_N)
    if rate != sample_rate_hz:
        common = math.gcd(rate, sample_rate_hz)
        if (rate // common) * (sample_rate_hz // common) > MAX_RESAMPLING_TAPS:
            raise unreadable(path, f"has {rate} samples per second, of no use at {sample_rate_hz}")
        audio_N = torchaudio.functional.resample(audio_N, rate, sample_rate_hz)
    return audio_N
