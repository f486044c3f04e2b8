"""Features: the input of the networks, computed from audio.

Legend: N samples, T frames, F feature bins.

Frame t is the Hann window over samples ``t * hop`` to ``t * hop + window``; only whole windows
count, so N samples give ``1 + (N - window) // hop`` frames. Audio shorter than one window is padded
with zeros to one frame.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

FEATURES_VERSION = 1
"""Raised when the same audio and config would give other numbers."""

LOG_FLOOR = 2.0**-24
"""Added to a power before its logarithm, well under the noise of a recording (as in NeMo)."""

STD_FLOOR = 0.01
"""In nats: the standard deviation by which a bin is divided is at least this, so that a constant
bin (digital silence) is not amplified."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Kind and resolution of the features, and their normalisation."""

    kind: Literal["log_mel", "log_spectrogram"] = "log_mel"
    num_bins: int = 64
    """Mel filters; for log_spectrogram half the window's samples + 1 (161 at 20 ms, as Kur)."""
    sample_rate_hz: int = 16_000
    """Audio of any other rate is resampled to this one."""
    window_ms: float = 25.0
    hop_ms: float = 10.0
    normalize: Literal["utterance", "corpus"] = "utterance"
    """Mean 0 and variance 1 of each bin over the frames of the utterance, or of the train split."""

    def __post_init__(self) -> None:
        if not 4_000 <= self.sample_rate_hz <= 48_000:
            raise ValueError(f"sample_rate_hz must be 4000 to 48000, got {self.sample_rate_hz}")
        if not 5 <= self.window_ms <= 100:
            raise ValueError(f"window_ms must be 5 to 100, got {self.window_ms}")
        if not 1 <= self.hop_ms <= self.window_ms:
            raise ValueError(
                f"hop_ms must be 1 to window_ms ({self.window_ms:g}), got {self.hop_ms}"
            )
        if self.num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {self.num_bins}")
        if self.kind == "log_spectrogram" and self.num_bins != self.window_samples // 2 + 1:
            raise ValueError(
                f"num_bins of a log_spectrogram over {self.window_samples} samples must be "
                f"{self.window_samples // 2 + 1}, got {self.num_bins}"
            )
        if self.kind == "log_mel" and not _every_filter_covers_a_bin(self):
            raise ValueError(
                f"num_bins must leave each mel filter a bin of the {self.fft_samples}-point FFT, "
                f"got {self.num_bins}; take fewer bins or a longer window"
            )

    @property
    def window_samples(self) -> int:
        """Samples under one window."""
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def fft_samples(self) -> int:
        """Points of the FFT: the window itself for a spectrogram, the next power of two for mel."""
        if self.kind == "log_spectrogram":
            return self.window_samples
        return 1 << (self.window_samples - 1).bit_length()

    @property
    def frames_per_second(self) -> float:
        """100 at a hop of 10 ms."""
        return self.sample_rate_hz / self.hop_samples


@dataclass(frozen=True, kw_only=True)
class CorpusStats:
    """Mean and standard deviation of each bin over the train split: F values each, in nats."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def num_frames(num_samples: int, config: FeatureConfig) -> int:
    """Frames that `num_samples` of audio give; at least 1."""
    return 1 + max(0, num_samples - config.window_samples) // config.hop_samples


def compute(waveform_N: Tensor, config: FeatureConfig, stats: CorpusStats | None = None) -> Tensor:
    """Normalised features [T, F] float32, on the device of the waveform.

    The waveform is float32 at the config's rate. `stats` belong to ``normalize="corpus"`` and come
    from the store that the network was trained on.
    """
    feats_TF = log_power(waveform_N, config)
    if config.normalize == "utterance":
        feats_TF = feats_TF - feats_TF.mean(dim=0)
        std_F = feats_TF.square().mean(dim=0).sqrt()  # ten times as fast as torch.std
    else:
        assert stats is not None, "corpus normalisation needs the corpus's stats"
        feats_TF = feats_TF - feats_TF.new_tensor(stats.mean)
        std_F = feats_TF.new_tensor(stats.std)
    return feats_TF / std_F.clamp(min=STD_FLOOR)


def log_power(waveform_N: Tensor, config: FeatureConfig) -> Tensor:
    """Features [T, F] before normalisation: natural logarithm of the power in each bin."""
    # torch centres a window shorter than the FFT within it and multiplies the samples around it by
    # 0. Padding the waveform by as many samples makes frame t begin at sample t * hop.
    #
    #     window 4, FFT 8, hop 2     . . 0 1 2 3 4 5 6 7      . padding
    #     frame 0                    0 0 w w w w 0 0
    #     frame 1                        0 0 w w w w 0 0      w window, 0 the zeros around it
    surplus = config.fft_samples - config.window_samples
    short = max(0, config.window_samples - len(waveform_N))
    padded = F.pad(waveform_N, (surplus // 2, surplus - surplus // 2 + short))
    spectrogram, mel_scale = _transforms(config, waveform_N.device)
    spectrum_FT = spectrogram(padded)
    # |z|² without the square root of abs(), which would take a fifth of the time.
    power_FT: Tensor = mel_scale(spectrum_FT.real.square() + spectrum_FT.imag.square())
    return (power_FT + LOG_FLOOR).log().T.contiguous()


@lru_cache(maxsize=16)
def _transforms(config: FeatureConfig, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Waveform to spectrum, and power to mel: triangles of height 1, spaced as HTK does."""
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=config.fft_samples,
        win_length=config.window_samples,
        hop_length=config.hop_samples,
        power=None,
        center=False,
    )
    mel_scale: nn.Module = nn.Identity()
    if config.kind == "log_mel":
        mel_scale = torchaudio.transforms.MelScale(
            n_mels=config.num_bins,
            sample_rate=config.sample_rate_hz,
            n_stft=config.fft_samples // 2 + 1,
            mel_scale="htk",
        )
    return spectrogram.to(device), mel_scale.to(device)


def _every_filter_covers_a_bin(config: FeatureConfig) -> bool:
    """True if each mel filter, a triangle over [low, high] Hz, covers an FFT bin's frequency."""
    if config.num_bins > config.fft_samples:
        return False  # without computing a million edges
    # HTK's scale: mel = 2595 log10(1 + Hz / 700). Filter i rises from edge i to i + 1 and falls to
    # edge i + 2, and is 0 at both ends: the first bin above its lower end must lie below its upper
    # one. A bin that is an end but for rounding (1e-6) does not count.
    top_mel = 2595 * math.log10(1 + config.sample_rate_hz / 2 / 700)
    edges_hz = [
        700 * (10 ** (top_mel * edge / (config.num_bins + 1) / 2595) - 1)
        for edge in range(config.num_bins + 2)
    ]
    per_bin = config.sample_rate_hz / config.fft_samples
    return all(
        math.floor(low / per_bin + 1e-6) + 1 < high / per_bin - 1e-6
        for low, high in zip(edges_hz, edges_hz[2:], strict=False)
    )
