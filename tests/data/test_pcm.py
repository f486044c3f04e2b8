"""Raw samples from a pipe, and what is none."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.pcm import read_blocks, read_pcm


@contextmanager
def piped(*writes: bytes) -> Iterator[int]:
    """A descriptor from which these bytes are read; together they fit into a pipe's buffer."""
    read, write = os.pipe()
    for data in writes:
        os.write(write, data)
    os.close(write)
    yield read
    os.close(read)


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9_000, 9_000, num_samples).astype("<i2")


@pytest.mark.parametrize("num_samples", [1, 2, 799, 800, 5_000])
@pytest.mark.parametrize("chunk", [1e-6, 0.001, 0.1])
def test_every_sample_arrives_once(num_samples: int, chunk: float) -> None:
    samples = noise(num_samples)
    with piped(samples.tobytes()) as descriptor:
        parts = list(read_pcm(descriptor, 16_000, chunk))
    assert all(len(part) for part in parts)
    assert torch.equal(torch.cat(parts), torch.from_numpy(samples.astype(np.float32) / 32768))


def test_nothing_is_nothing() -> None:
    with piped() as descriptor:
        assert list(read_pcm(descriptor, 16_000, 0.1)) == []


def test_an_odd_number_of_bytes_is_refused_after_its_samples() -> None:
    heard: list[Tensor] = []
    with (
        piped(noise(2_000).tobytes() + b"x") as descriptor,
        pytest.raises(UserError, match=r"got an odd number of bytes; send sox .* -r 8000 -"),
    ):
        heard.extend(read_pcm(descriptor, 8_000, 0.1))
    assert sum(map(len, heard)) == 2_000


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "aiff", "au", "caf"])
def test_files_are_refused_by_their_header(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{name}", np.zeros(3_000), 16_000)
    with (
        piped((tmp_path / f"a.{name}").read_bytes()) as descriptor,
        pytest.raises(UserError, match=f"without a header, got {name.upper()}; send sox"),
    ):
        list(read_pcm(descriptor, 16_000, 0.1))


def test_two_channels_of_one_microphone_are_refused() -> None:
    with (
        piped(noise(2_000).repeat(2).tobytes()) as descriptor,
        pytest.raises(UserError, match="must have one channel, got samples in equal pairs"),
    ):
        list(read_pcm(descriptor, 16_000, 0.1))
    with (
        piped(bytes(4_004), noise(2_000).repeat(2).tobytes()) as descriptor,
        pytest.raises(UserError, match="must have one channel, got samples in equal pairs"),
    ):
        list(read_pcm(descriptor, 16_010, 0.1))  # chunks of 1,601 samples: pairs are divided
    for silence in (bytes(4_000), b"\x03\x00" * 2_000):  # digital, and at an offset
        with piped(silence) as descriptor:
            assert len(torch.cat(list(read_pcm(descriptor, 16_000, 0.1)))) == 2_000


def test_blocks_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3_000), 8_000)
    rate, parts = read_blocks(path, None, None, 0.01)
    expected = read_audio(path, channel=None, sample_rate_hz=8_000)
    assert rate == 8_000
    assert torch.equal(torch.cat(list(parts)), expected)
    with pytest.raises(UserError, match=re.escape(f"--rate must be that of {path}, 8000, got 16")):
        read_blocks(path, None, 16_000, 0.01)


def test_a_recording_with_two_channels_needs_one_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3_000).reshape(-1, 2), 8_000)
    with pytest.raises(UserError, match=r"must have one channel, but .* has 2"):
        list(read_blocks(path, None, None, 0.01)[1])
    assert len(torch.cat(list(read_blocks(path, 1, None, 0.01)[1]))) == 1_500
