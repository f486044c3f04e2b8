"""Reading recordings: FLAC, WAV, OGG, MP3, SPH (NIST) and headerless RAW, all through libsndfile.

RAW has no header to tell what it holds: it is taken as 16 kHz, one channel, 16 bit, little-endian,
as in the "littleendian" archives of CMU's AN4.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor

from bench.core.errors import UserError

_RAW = {
    "samplerate": 16_000,
    "channels": 1,
    "format": "RAW",
    "subtype": "PCM_16",
    "endian": "LITTLE",
}
_RATES_HZ = range(1_000, 768_001)
"""What recordings have; a header can claim any, and memory is taken as it says."""
_MAX_RESAMPLING_TAPS = 50_000_000
"""The filter from one rate to another grows with both over their common divisor: 44.1 to 16 kHz
takes 0.1 million numbers, 44.101 to 16 kHz 700 million."""
_NIST_MAGIC = b"NIST_1A"
_NIST_HEADER_BYTES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What the header of a recording says."""

    sample_rate_hz: int
    num_frames: int
    """Samples per channel."""
    num_channels: int

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.num_frames / self.sample_rate_hz


def probe(path: Path) -> AudioInfo:
    """What the header of `path` says; no sample is decoded.

    Raises:
        UserError: no such file, not a recording that can be read, or one without samples.
    """
    with _opened(path) as sound:
        return AudioInfo(
            sample_rate_hz=sound.samplerate,
            num_frames=sound.frames,
            num_channels=sound.channels,
        )


def read_audio(path: Path, *, channel: int | None, sample_rate_hz: int) -> Tensor:
    """The samples of `path`, float32 [N] in -1 to 1, resampled where its rate is another.

    Args:
        path: the recording.
        channel: which channel of several to take, from 0; a recording with one channel has only
            that.
        sample_rate_hz: the rate of the result.

    Raises:
        UserError: as `probe`; also audio that breaks off or holds values that are no numbers, and
            several channels with none (or one that is not there) named.
    """
    with _opened(path) as sound:
        column = chosen_channel(path, sound.channels, channel)
        samples_NC = sound.read(dtype="float32", always_2d=True)
        if len(samples_NC) < sound.frames:
            raise _unreadable(path, f"ends after {len(samples_NC)} of {sound.frames} frames")
        rate = sound.samplerate
    samples_N = np.ascontiguousarray(samples_NC[:, column or 0])
    if not np.isfinite(samples_N).all():
        raise _unreadable(path, "holds samples that are not finite numbers")
    audio_N = torch.from_numpy(samples_N)
    if rate != sample_rate_hz:
        common = math.gcd(rate, sample_rate_hz)
        if (rate // common) * (sample_rate_hz // common) > _MAX_RESAMPLING_TAPS:
            raise _unreadable(path, f"has {rate} samples per second, of no use at {sample_rate_hz}")
        audio_N = torchaudio.functional.resample(audio_N, rate, sample_rate_hz)
    return audio_N


def chosen_channel(path: Path, num_channels: int, channel: int | None) -> int | None:
    """The channel to read of `path`: None if it has only one, else the one asked for.

    Raises:
        UserError: several channels, and none or a missing one asked for.
    """
    if num_channels == 1:
        return None
    if channel is None:
        raise UserError(
            f"audio must have one channel, but {path} has {num_channels}; name the one to use, as "
            "in --channel 0"
        )
    if channel >= num_channels:
        raise UserError(
            f"{path} has {num_channels} channels, counted from 0, so there is no --channel "
            f"{channel}"
        )
    return channel


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        raise UserError(f"audio file {path} does not exist; correct the path or restore the file")
    if path.stat().st_size == 0:
        raise _unreadable(path, "has zero length")
    try:
        with soundfile.SoundFile(path, **_RAW if path.suffix.lower() == ".raw" else {}) as sound:
            if sound.samplerate not in _RATES_HZ:
                raise _unreadable(path, f"claims {sound.samplerate} samples per second")
            if sound.frames <= 0:
                raise _unreadable(path, "holds no samples (zero length)")
            yield sound
    except soundfile.SoundFileError as error:
        if _is_shortened(path):
            reason = "is SPH compressed with shorten; convert it with `sph2pipe -f wav`"
            raise UserError(f"audio file {path} {reason}") from error
        raise _unreadable(path, f"is corrupt or of an unknown format ({_reason(error)})") from error


def _unreadable(path: Path, fault: str) -> UserError:
    return UserError(
        f"audio file {path} {fault}; restore the file or take the utterance out of the corpus"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(". ")


def _is_shortened(path: Path) -> bool:
    with path.open("rb") as handle:
        header = handle.read(_NIST_HEADER_BYTES)
    return header.startswith(_NIST_MAGIC) and b"shorten" in header
