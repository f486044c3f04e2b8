"""The features against a NumPy implementation written from the formulas alone."""

import math

import numpy as np
import pytest
import torch

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.data.features import (
    LOG_FLOOR,
    CorpusStats,
    FeatureConfig,
    compute,
    log_power,
    num_frames,
)

SPECTROGRAM = FeatureConfig(kind="log_spectrogram", num_bins=161, window_ms=20.0)


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def reference_power(audio: np.ndarray, window: int, hop: int, fft: int) -> np.ndarray:
    """|DFT|² [T, fft // 2 + 1] of Hann-windowed frames, by the definition of each."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    starts = range(0, len(audio) - window + 1, hop)
    frames = np.stack([audio[start : start + window] * hann for start in starts])
    return np.abs(np.fft.rfft(frames, fft)) ** 2


def reference_filters(num_bins: int, fft: int, rate: int) -> np.ndarray:
    """Triangles [fft // 2 + 1, num_bins] of height 1 between points equally far apart in mel."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, num_bins + 2) / 2595) - 1)
    hz = np.arange(fft // 2 + 1) * rate / fft
    columns = [np.interp(hz, points[i : i + 3], [0, 1, 0]) for i in range(num_bins)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    "config, window, hop, fft",
    [
        (FeatureConfig(num_bins=80), 400, 160, 512),
        (FeatureConfig(num_bins=40, sample_rate_hz=8_000), 200, 80, 256),
        (FeatureConfig(num_bins=26, window_ms=32.0, hop_ms=20.0), 512, 320, 512),
        (FeatureConfig(num_bins=64, sample_rate_hz=22_050), 551, 220, 1024),
    ],
    ids=lambda value: f"{value.num_bins}" if isinstance(value, FeatureConfig) else "",
)
def test_log_mel_agrees_with_its_formula(
    config: FeatureConfig, window: int, hop: int, fft: int
) -> None:
    audio = noise(7_001)
    power = reference_power(audio.double().numpy(), window, hop, fft)
    mel = power @ reference_filters(config.num_bins, fft, config.sample_rate_hz)
    np.testing.assert_allclose(log_power(audio, config), np.log(mel + LOG_FLOOR), atol=2e-3)


def test_log_spectrogram_agrees_with_numpy() -> None:
    audio = noise(5_000)
    power = reference_power(audio.double().numpy(), 320, 160, 320)
    np.testing.assert_allclose(log_power(audio, SPECTROGRAM), np.log(power + LOG_FLOOR), atol=2e-3)


def test_a_tone_lights_the_bin_of_its_frequency() -> None:
    time = torch.arange(16_000) / 16_000
    feats = log_power(torch.sin(2 * torch.pi * 1_000 * time), SPECTROGRAM)
    assert (feats.argmax(dim=1) == 1_000 / (16_000 / 320)).all()


@pytest.mark.parametrize("config", [FeatureConfig(), SPECTROGRAM], ids=["mel", "spectrogram"])
@pytest.mark.parametrize("num_samples", [1, 160, 319, 320, 400, 401, 559, 560, 719, 16_000])
def test_number_of_frames(config: FeatureConfig, num_samples: int) -> None:
    whole = [s for s in range(0, num_samples, 160) if s + config.window_samples <= num_samples]
    feats = compute(noise(num_samples), config)
    assert feats.shape == (max(1, len(whole)), config.num_bins)
    assert num_frames(num_samples, config) == len(feats)
    assert feats.dtype == torch.float32
    assert feats.isfinite().all()


def test_a_frame_hears_its_own_window_only() -> None:
    config = FeatureConfig()
    audio = noise(4_000)
    changed = audio.clone()
    changed[1_600 + 400 :] = 0  # frame 10 is over samples 1600 to 2000
    same = (log_power(audio, config) == log_power(changed, config)).all(dim=1)
    assert same.tolist() == [True] * 11 + [False] * (len(same) - 11)


def test_utterance_normalisation() -> None:
    feats = compute(noise(16_000), FeatureConfig())
    assert feats.mean(dim=0).abs().max() < 1e-5
    torch.testing.assert_close(feats.std(dim=0, correction=0), torch.ones(64))


def test_corpus_normalisation() -> None:
    config = FeatureConfig(num_bins=2, normalize="corpus")
    raw = log_power(noise(800), config)
    feats = compute(noise(800), config, CorpusStats(mean=(1.0, -2.0), std=(2.0, 0.5)))
    torch.testing.assert_close(feats, (raw - torch.tensor([1.0, -2.0])) / torch.tensor([2.0, 0.5]))


def test_silence_is_zero_and_stays_small_with_rounding_noise() -> None:
    assert compute(torch.zeros(16_000), FeatureConfig()).abs().max() < 1e-3
    assert compute(1e-8 * noise(16_000), FeatureConfig()).abs().max() < 0.1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_bins": 0}, "num_bins must be at least 1, got 0"),
        ({"num_bins": 300}, "must leave each mel filter a bin of the 512-point FFT, got 300"),
        ({"kind": "log_spectrogram"}, "over 400 samples must be 201, got 64"),
        ({"window_ms": 0.0}, "window_ms must be 5 to 100, got 0"),
        ({"window_ms": math.nan}, "window_ms must be 5 to 100, got nan"),
        ({"hop_ms": 30.0}, r"hop_ms must be 1 to window_ms \(25\), got 30"),
        ({"sample_rate_hz": 0}, "sample_rate_hz must be 4000 to 48000, got 0"),
        ({"kind": "mfcc"}, "'kind' takes one of log_mel, log_spectrogram, got 'mfcc'"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(FeatureConfig, changes)


@pytest.mark.parametrize("num_bins", range(60, 130, 3))
def test_bins_are_refused_exactly_when_a_filter_would_be_empty(num_bins: int) -> None:
    some_empty = (reference_filters(num_bins, 512, 16_000) == 0).all(axis=0).any()
    try:
        FeatureConfig(num_bins=num_bins)
    except ValueError:
        assert some_empty
    else:
        assert not some_empty


def test_config_survives_json_and_has_its_frame_rate() -> None:
    assert from_dict(FeatureConfig, to_dict(SPECTROGRAM)) == SPECTROGRAM
    assert FeatureConfig().frames_per_second == 100
    assert FeatureConfig(hop_ms=12.5).frames_per_second == 80


@pytest.mark.cuda
@pytest.mark.parametrize("config", [FeatureConfig(), SPECTROGRAM], ids=["mel", "spectrogram"])
def test_cuda_agrees_with_the_cpu(config: FeatureConfig) -> None:
    audio = noise(16_000)
    on_cuda = compute(audio.cuda(), config)
    assert on_cuda.is_cuda
    torch.testing.assert_close(on_cuda.cpu(), compute(audio, config), atol=1e-3, rtol=1e-3)
