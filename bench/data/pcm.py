"""Samples as they arrive: raw PCM from a pipe, or the blocks of a recording.

Legend: N samples.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.recording import open_recording

BYTES_PER_SAMPLE = 2
_SOX = "sox … -t raw -e signed -b 16 -c 1 -r {rate_hz} -"
_HEADERS = {
    (0, b"RIFF"): "WAV",
    (0, b"RIFX"): "WAV",
    (0, b"RF64"): "WAV",
    (0, b"riff"): "W64",
    (0, b"fLaC"): "FLAC",
    (0, b"OggS"): "OGG",
    (0, b"ID3"): "MP3",
    (4, b"ftyp"): "MP4",
    (0, b"FORM"): "AIFF",
    (0, b".snd"): "AU",
    (0, b"NIST_1A"): "SPH",
    (0, b"caff"): "CAF",
    (0, b"\x1aE\xdf\xa3"): "WebM",
}
"""By offset and first bytes."""
_FEWEST_PAIRS = 400
"""Pairs of samples from which on equal pairs are taken for two channels."""


def read_pcm(descriptor: int, rate_hz: int, chunk_seconds: float) -> Iterator[Tensor]:
    """Chunks of float32 samples in -1 to 1 of a pipe with 16-bit little-endian mono PCM.

    A chunk is what has arrived, at most `chunk_seconds` (the first: what it takes to judge the
    bytes); none is empty.

    Raises:
        UserError: the bytes begin with the header of a file, hold two channels of one microphone
            (all samples come in equal pairs), or end within a sample. The last is raised after
            the samples before it.
    """
    most = max(1, round(chunk_seconds * rate_hz)) * BYTES_PER_SAMPLE
    kept, is_judged, data = b"", False, b" "
    channels = _ChannelCheck(rate_hz)
    while data:
        data = os.read(descriptor, most)
        kept += data
        # Nothing is given out before the head has been judged, and two channels take some samples
        # to tell, unless the stream ends before.
        if not is_judged:
            if data and len(kept) < BYTES_PER_SAMPLE * 2 * _FEWEST_PAIRS:
                continue
            _check_head(kept, rate_hz)
            is_judged = True
        whole = len(kept) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        channels.add(kept[:whole])
        if whole:
            yield _samples(kept[:whole])
            kept = kept[whole:]
    if kept:
        raise UserError(
            "a stream must be whole 16-bit samples, got an odd number of bytes; send "
            + _SOX.format(rate_hz=rate_hz)
        )


def _samples(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 32768)


def _check_head(head: bytes, rate_hz: int) -> None:
    for (offset, magic), name in _HEADERS.items():
        if head.startswith(magic, offset):
            raise UserError(
                f"a stream must be 16-bit samples without a header, got {name}; "
                f"send {_SOX.format(rate_hz=rate_hz)}"
            )


class _ChannelCheck:
    """Refuses two channels of one microphone: samples in equal pairs. Silence is equal in pairs
    too, at zero or at a microphone's offset, so pairs that repeat the one before say nothing."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._kept, self._num_equal, self._is_mono = b"", 0, False

    def add(self, data: bytes) -> None:
        """The next whole samples.

        Raises:
            UserError: the stream has two channels.
        """
        if self._is_mono:
            return
        self._kept += data
        whole = len(self._kept) // 4 * 4
        pairs = np.frombuffer(self._kept[:whole], "<i2").reshape(-1, 2)
        self._kept = self._kept[whole:]
        pairs = pairs[1:][(pairs[1:] != pairs[:-1]).any(axis=1)]
        self._is_mono = bool((pairs[:, 0] != pairs[:, 1]).any())
        self._num_equal += len(pairs)
        if not self._is_mono and self._num_equal >= _FEWEST_PAIRS:
            raise UserError(
                "a stream must have one channel, got samples in equal pairs, as two have; "
                f"send {_SOX.format(rate_hz=self._rate_hz)}"
            )


def read_blocks(
    path: Path, channel: int | None, rate_hz: int | None, chunk_seconds: float
) -> tuple[int, Iterator[Tensor]]:
    """The rate of the recording `path`, and its samples in chunks.

    Raises:
        UserError: a rate other than `rate_hz`, if that is given; as `open_recording`, and as
            `Recording.blocks` during the iteration.
    """
    with open_recording(path) as recording:
        rate = recording.sample_rate_hz
    if rate_hz is not None and rate != rate_hz:
        raise UserError(
            f"--rate must be that of {path}, {rate}, got {rate_hz}; leave it out for files"
        )
    return rate, _blocks(path, channel, max(1, round(chunk_seconds * rate)))


def _blocks(path: Path, channel: int | None, chunk: int) -> Iterator[Tensor]:
    with open_recording(path) as recording:
        for block in recording.blocks(channel):
            yield from torch.split(torch.from_numpy(block), chunk)
