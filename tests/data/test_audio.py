from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core.errors import UserError
from bench.data.audio import read_audio

RATE = 16_000
FORMATS = {
    "a.flac": {},
    "a.wav": {},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.mp3": {"format": "MP3"},
    "a.sph": {"format": "NIST", "subtype": "PCM_16"},
    "a.raw": {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"},
}


def tone(seconds: float = 0.5, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a[1000:-1000], b[1000:-1000])[0, 1])


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_samples_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(), RATE, **FORMATS[name])
    audio_N = read_audio(path, channel=None, sample_rate_hz=RATE).numpy()
    assert (audio_N.shape, audio_N.dtype) == ((RATE // 2,), np.float32)
    assert correlation(audio_N, tone()) > 0.999


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_rates_are_resampled(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate)
    audio_N = read_audio(tmp_path / "a.wav", channel=None, sample_rate_hz=RATE).numpy()
    assert len(audio_N) == RATE // 2
    assert correlation(audio_N, tone()) > 0.999


def test_a_named_channel_of_several_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([tone(hz=300), tone(hz=500)], axis=1), RATE)
    for channel, hz in ((0, 300), (1, 500)):
        audio_N = read_audio(path, channel=channel, sample_rate_hz=RATE).numpy()
        assert correlation(audio_N, tone(hz=hz)) > 0.999
    with pytest.raises(
        UserError, match=r"must have one channel, but .*stereo\.wav has 2; .*--chan"
    ):
        read_audio(path, channel=None, sample_rate_hz=RATE)
    with pytest.raises(UserError, match=r"stereo\.wav has 2 channels, .* no --channel 2"):
        read_audio(path, channel=2, sample_rate_hz=RATE)


def test_one_channel_needs_no_name_and_ignores_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    assert len(read_audio(tmp_path / "a.wav", channel=1, sample_rate_hz=RATE)) == RATE // 2


def write_empty(path: Path) -> None:
    path.touch()


def write_no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def write_noise(path: Path) -> None:
    path.write_bytes(b"this is no recording" * 20)


def write_shortened(path: Path) -> None:
    header = "NIST_1A\n   1024\nsample_count -i 100\nsample_rate -i 16000\nchannel_count -i 1\n"
    header += "sample_n_bytes -i 2\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    path.write_bytes(header.encode().ljust(1024) + b"ajkg" + bytes(200))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (None, "bad.wav does not exist; correct the path"),
        (write_empty, "bad.wav has zero length; restore the file"),
        (write_no_samples, r"bad.wav holds no samples \(zero length\); restore"),
        (write_noise, r"bad.wav is corrupt or of an unknown format \(.+\); restore"),
        (write_shortened, "bad.wav is SPH compressed with shorten; convert it with `sph2pipe"),
    ],
)
def test_what_cannot_be_read_is_named(write, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    if write:
        write(path)
    with pytest.raises(UserError, match=message):
        read_audio(path, channel=None, sample_rate_hz=RATE)


@pytest.mark.parametrize(("name", "fault"), [("a.flac", "is corrupt"), ("a.mp3", "ends after")])
def test_a_recording_that_breaks_off_is_named(name: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)
    soundfile.write(path, noise, RATE, **FORMATS[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert soundfile.info(path).frames == 5 * RATE  # the header knows nothing of it
    with pytest.raises(UserError, match=rf"{name} {fault}"):
        read_audio(path, channel=None, sample_rate_hz=RATE)


def test_samples_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, np.nan, 0.1] * 100), RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"nan\.wav holds samples that are not finite"):
        read_audio(path, channel=None, sample_rate_hz=RATE)


@pytest.mark.parametrize(
    ("rate", "message"),
    [(999, "claims 999 samples"), (44_101, "has 44101 samples per second, of no use at 16000")],
)
def test_a_rate_that_would_take_all_memory_is_named(
    tmp_path: Path, rate: int, message: str
) -> None:
    soundfile.write(tmp_path / "odd.wav", tone(), rate)
    with pytest.raises(UserError, match=rf"odd\.wav {message}"):
        read_audio(tmp_path / "odd.wav", channel=None, sample_rate_hz=RATE)
