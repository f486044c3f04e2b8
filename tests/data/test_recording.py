"""What a header says is a claim: recordings are decoded to their end, or refused in words."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.mp3 import Mp3Layout, mp3_layout
from bench.data.recording import AudioError, count_frames
from bench.data.utterance import Snippet

RATE = 16_000
FLAC_TOTAL = 21


def noisy_tone(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    num = round(seconds * rate)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(num) / rate)
    return (tone + 0.05 * np.random.default_rng(seed).standard_normal(num)).astype(np.float32)


def encoded(samples: np.ndarray, format: str, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, samples, rate, format=format, subtype=subtype)
    return written.getvalue()


def mp3(seconds: float, seed: int = 0) -> bytes:
    return encoded(noisy_tone(seconds, seed), "MP3", "MPEG_LAYER_III")


def without_tag(content: bytes) -> bytes:
    """Without the tag's frame: 64 kbit/s at 16 kHz make frames of 288 bytes."""
    assert b"Info" in content[:288] or b"Xing" in content[:288]
    return content[288:]


def length(path: Path, content: bytes) -> float:
    path.write_bytes(content)
    return len(read_audio(path, channel=None, sample_rate_hz=RATE)) / RATE


def with_data_size(content: bytes, size: int) -> bytes:
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def with_flac_total(content: bytes, total: int) -> bytes:
    head = bytes([content[FLAC_TOTAL] & 0xF0]) + struct.pack(">I", total)
    return content[:FLAC_TOTAL] + head + content[FLAC_TOTAL + 5 :]


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x7FFFF000])
def test_a_streamed_wav_is_decoded_to_its_end(size: int, tmp_path: Path) -> None:
    content = with_data_size(encoded(noisy_tone(2.0), "WAV"), size)
    content = content[:4] + struct.pack("<I", size) + content[8:]
    assert length(tmp_path / "a.wav", content) == 2.0


@pytest.mark.parametrize("claimed", [0, RATE])
def test_a_flac_is_decoded_beyond_what_it_claims(claimed: int, tmp_path: Path) -> None:
    content = with_flac_total(encoded(noisy_tone(3.0), "FLAC"), claimed)
    assert length(tmp_path / "a.flac", content) == 3.0


@pytest.mark.parametrize("format, name", [("FLAC", "a.flac"), ("MP3", "a.mp3")])
def test_a_tag_before_the_audio_is_skipped(format: str, name: str, tmp_path: Path) -> None:
    subtype = "PCM_16" if format == "FLAC" else "MPEG_LAYER_III"
    content = encoded(noisy_tone(2.0), format, subtype)
    if format == "FLAC":
        content = with_flac_total(content, 0)
    tag = b"ID3\x03\x00\x00\x00\x00\x0f\x76" + bytes(15 << 7 | 0x76)
    assert length(tmp_path / name, tag + content) == 2.0


def test_an_mp3_without_a_tag_is_decoded_to_its_end(tmp_path: Path) -> None:
    whole = mp3(2.0)
    # What libsndfile reads by itself is half of it.
    assert soundfile.info(io.BytesIO(without_tag(whole))).duration < 1.5
    assert 2.0 <= length(tmp_path / "a.mp3", without_tag(whole)) < 2.1


def test_joined_mp3_files_are_decoded_whole(tmp_path: Path) -> None:
    assert length(tmp_path / "tagged.mp3", mp3(2.0) + mp3(3.0, seed=1)) == 5.0
    with_cover = b"ID3\x03\x00\x00\x00\x00\x00\x7f" + b"\xff\xfb\x90\x00" * 31 + b"abc"
    assert length(tmp_path / "cover.mp3", mp3(2.0) + with_cover + mp3(3.0, seed=1)) == 5.0
    assert length(tmp_path / "mixed.mp3", mp3(2.0) + without_tag(mp3(3.0))) >= 5.0
    assert length(tmp_path / "bare.mp3", without_tag(mp3(2.0)) + without_tag(mp3(3.0))) >= 5.0


def test_joined_mp3_files_hold_the_sound_of_each(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(1.0) + mp3(1.5, seed=1))
    joined = read_audio(path, channel=None, sample_rate_hz=RATE).numpy()
    alone = [
        soundfile.read(io.BytesIO(part), dtype="float32")[0]
        for part in (mp3(1.0), mp3(1.5, seed=1))
    ]
    np.testing.assert_allclose(joined, np.concatenate(alone), atol=1e-6)


def test_a_sound_mp3_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    for rate in (8_000, 11_025, 16_000, 22_050, 44_100, 48_000):
        for channels in (1, 2):
            samples = np.repeat(noisy_tone(1.0, rate=rate)[:, None], channels, axis=1)
            path.write_bytes(encoded(samples, "MP3", "MPEG_LAYER_III", rate))
            assert mp3_layout(path) == Mp3Layout()
            path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
            assert mp3_layout(path) == Mp3Layout()
            assert len(read_audio(path, channel=0, sample_rate_hz=rate)) == rate


def test_a_tagless_mp3_of_each_rate_is_decoded_to_its_end(tmp_path: Path) -> None:
    for rate in (8_000, 11_025, 22_050, 44_100):
        for channels in (1, 2):
            samples = np.repeat(noisy_tone(1.0, rate=rate)[:, None], channels, axis=1)
            content = bytearray(encoded(samples, "MP3", "MPEG_LAYER_III", rate))
            at = max(content.find(b"Info", 0, 100), content.find(b"Xing", 0, 100))
            content[at : at + 4] = bytes(4)
            (tmp_path / "a.mp3").write_bytes(content)
            found = len(read_audio(tmp_path / "a.mp3", channel=0, sample_rate_hz=rate)) / rate
            assert 1.0 <= found < 1.5


BREAKS_OFF: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "wav": ("a.wav", lambda: encoded(noisy_tone(2.0), "WAV")[:40_000], "ends after 39956 of the 64000 bytes"),
    "flac": ("a.flac", lambda: encoded(noisy_tone(2.0), "FLAC")[:9_000], "is corrupt or breaks off"),
    "streamed flac": (
        "a.flac",
        lambda: with_flac_total(encoded(noisy_tone(2.0), "FLAC"), 0)[:9_000],
        "is corrupt or breaks off",
    ),
    "flac at a frame's end": (
        "a.flac", lambda: with_flac_total(encoded(noisy_tone(2.0), "FLAC"), 10 * RATE), "ends after 2.00 of the 10.00 s",
    ),
    "mp3": ("a.mp3", lambda: mp3(2.0)[: 288 * 20], r"ends after 37 of the 58 frames"),
    "mp3 with a hole": ("a.mp3", lambda: mp3(2.0)[: 288 * 20] + bytes(1500) + mp3(2.0)[288 * 26 :], "frames that it claims|no audio"),
    "mp3 without a tag": ("a.mp3", lambda: without_tag(mp3(2.0))[:5_000], "breaks off within its last frame"),
    "ogg": ("a.ogg", lambda: encoded(noisy_tone(3.0), "OGG", "VORBIS")[:9_000], "breaks off: its last page"),
    "opus": ("a.opus", lambda: encoded(noisy_tone(3.0), "OGG", "OPUS")[:9_000], "breaks off within a page"),
    "aiff": ("a.aiff", lambda: encoded(noisy_tone(2.0), "AIFF")[:40_000], r"ends after \d+ of the \d+ bytes"),
    "sph": ("a.sph", lambda: encoded(noisy_tone(2.0), "NIST")[:40_000], "ends after 1.22 of the 2.00 s"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BREAKS_OFF)
def test_a_recording_that_breaks_off_is_refused(kind: str, tmp_path: Path) -> None:
    name, made, message = BREAKS_OFF[kind]
    with pytest.raises(AudioError, match=message):
        length(tmp_path / name, made())


@pytest.mark.parametrize(
    "name, format, subtype, message",
    [
        ("a.wav", "WAV", "PCM_16", "neither counted nor another chunk"),
        ("a.flac", "FLAC", "PCM_16", "breaks off"),
        ("a.ogg", "OGG", "VORBIS", "as files joined do"),
        ("a.sph", "NIST", "PCM_16", "goes on for .* but claims 2.00 s"),
    ],
)
def test_files_joined_by_cat_are_refused(
    name: str, format: str, subtype: str, message: str, tmp_path: Path
) -> None:
    parts = [encoded(noisy_tone(s), format, subtype) for s in (2.0, 3.0)]
    with pytest.raises(AudioError, match=message):
        length(tmp_path / name, b"".join(parts))


def test_a_wav_that_claims_too_little_is_refused_but_chunks_may_follow(tmp_path: Path) -> None:
    whole = encoded(noisy_tone(2.0), "WAV")
    with pytest.raises(AudioError, match="claims 32000 bytes of audio, but 32000 follow"):
        length(tmp_path / "a.wav", with_data_size(whole, 32_000))
    chunk = b"LIST" + struct.pack("<I", 5000) + bytes(5000)
    assert length(tmp_path / "b.wav", whole + chunk) == 2.0
    assert length(tmp_path / "c.wav", whole + b"\0" * 100) == 2.0, "a little junk"


def test_raw_bytes_the_wrong_way_round_are_refused(tmp_path: Path) -> None:
    samples = (noisy_tone(1.0) * 32767).astype(np.int16)
    path = tmp_path / "a.raw"
    assert length(path, samples.astype("<i2").tobytes()) == 1.0
    with pytest.raises(AudioError, match=r"swapped by 0\.\d+: it is big-endian; convert it: sox"):
        length(path, samples.astype(">i2").tobytes())
    noise = np.random.default_rng(0).integers(-9000, 9000, RATE).astype("<i2")
    assert length(path, noise.tobytes()) == 1.0, "noise says nothing of the order"
    assert length(path, bytes(2 * RATE)) == 1.0, "nor does silence"


FORMATS = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]  # fmt: skip


@pytest.mark.parametrize("format, subtype", FORMATS)
def test_a_snippet_is_the_same_part_of_the_whole(format: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(noisy_tone(6.0), format, subtype))
    whole = read_audio(path, channel=None, sample_rate_hz=RATE).numpy()
    for start, seconds in ((0.0, 0.5), (1.25, 2.0), (5.5, None), (4.6, 1.405)):
        part = read_audio(path, channel=None, sample_rate_hz=RATE,
                          snippet=Snippet(start_seconds=start, seconds=seconds)).numpy()  # fmt: skip
        first = round(start * RATE)
        expected = whole[first : None if seconds is None else first + round(seconds * RATE)]
        np.testing.assert_allclose(part, expected, atol=1e-6)


def test_a_snippet_of_a_flac_without_a_length_and_of_joined_mp3_files(tmp_path: Path) -> None:
    for name, content in (
        ("a.flac", with_flac_total(encoded(noisy_tone(3.0), "FLAC"), 0)),
        ("a.mp3", mp3(1.0) + mp3(2.0)),
    ):
        (tmp_path / name).write_bytes(content)
        whole, part = (
            read_audio(tmp_path / name, channel=None, sample_rate_hz=RATE, snippet=snippet).numpy()
            for snippet in (None, Snippet(start_seconds=0.5, seconds=2.0))
        )
        np.testing.assert_array_equal(part, whole[RATE // 2 : RATE // 2 + 2 * RATE])


@pytest.mark.parametrize(
    "start, seconds", [(1.0, 2.0), (2.0, 0.5), (2.0, None), (9.0, 1.0), (9.0, None)]
)
def test_a_snippet_outside_its_recording_is_refused(
    start: float, seconds: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noisy_tone(2.0), RATE)
    snippet = Snippet(start_seconds=start, seconds=seconds)
    with pytest.raises(AudioError, match=r"does not in .*a\.wav of 2\.00 s; correct offset"):
        read_audio(path, channel=None, sample_rate_hz=RATE, snippet=snippet)


def test_a_snippet_may_end_one_hop_late(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noisy_tone(2.0), RATE)
    snippet = Snippet(start_seconds=1.0, seconds=1.01)
    assert len(read_audio(path, channel=None, sample_rate_hz=RATE, snippet=snippet)) == RATE


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; correct the path"):
        read_audio(tmp_path, channel=None, sample_rate_hz=RATE)


def test_a_pipe_is_no_recording(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav is a pipe or a device; correct the path"):
        count_frames(tmp_path / "a.wav", None)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.au", "a.caf"])
def test_a_file_cut_within_its_header_is_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, np.full(160, 0.1), 16_000)
    whole = path.read_bytes()
    for size in range(1, 41):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=name):
            count_frames(path, None)


def test_half_a_sample_of_a_file_without_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(2_001))
    with pytest.raises(UserError, match=r"a.raw has an odd number of bytes, so no 16-bit samples"):
        count_frames(path, None)
