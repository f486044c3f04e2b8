"""Features of audio that arrives chunk by chunk, equal to those of the whole.

Legend: N samples, T frames, F feature bins.
"""

import math

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from bench.core.errors import UserError
from bench.data.features import CorpusStats, FeatureConfig, compute

MAX_RESAMPLING_TAPS = 50_000_000
"""The size of a resampling filter grows with both rates divided by their greatest common divisor:
44.1 to 16 kHz takes 0.1 million coefficients, 44.101 to 16 kHz 700 million."""


class FeatureStream:
    """Samples in, normalised features out; chunks of any sizes give the numbers of `compute`."""

    def __init__(self, config: FeatureConfig, stats: CorpusStats | None) -> None:
        """`stats` come from the checkpoint.

        Raises:
            UserError: features that are normalised over the utterance, so that the first frame
                depends on the last.
        """
        if config.normalize == "utterance":
            raise UserError(
                "streaming needs features.normalize = corpus, got utterance, whose mean is known "
                "only at the end; train with --set features.normalize=corpus"
            )
        self._config, self._stats = config, stats
        self._kept_N = torch.zeros(0)
        self._has_begun = False

    def push(self, samples_N: Tensor, *, is_last: bool = False) -> Tensor:
        """The features [T, F] of the frames that `samples_N`, float32 at the config's rate,
        complete; T may be 0. With `is_last` an utterance shorter than one window gives one frame.
        """
        config = self._config
        self._kept_N = torch.cat((self._kept_N, samples_N))
        num_samples = len(self._kept_N)
        # Only what the next frame reads again is kept:
        #
        #     samples        0  1  2  3  4  5  6  7  8      window 4, hop 2: three frames
        #     frame 0        [--------]
        #     frame 1              [--------]
        #     frame 2                    [--------]
        #     kept                             6  7  8      the next frame begins at 6
        num_frames = 1 + (num_samples - config.window_samples) // config.hop_samples
        if is_last and not self._has_begun and num_samples:
            num_frames = max(1, num_frames)
        if num_frames < 1:
            return self._kept_N.new_zeros(0, config.num_bins)
        self._has_begun = True
        needed = (num_frames - 1) * config.hop_samples + config.window_samples
        feats_TF = compute(self._kept_N[:needed], config, self._stats)
        self._kept_N = self._kept_N[num_frames * config.hop_samples :].clone()
        return feats_TF


class ResamplingStream:
    """Samples at one rate in, at another out; equal to `torchaudio.functional.resample`."""

    def __init__(self, rate_hz: int, new_rate_hz: int) -> None:
        """From `rate_hz` to `new_rate_hz`.

        Raises:
            UserError: the filter between the two rates is too large.
        """
        common = math.gcd(rate_hz, new_rate_hz)
        self._old, self._new = rate_hz // common, new_rate_hz // common
        if self._old * self._new > MAX_RESAMPLING_TAPS:
            raise UserError(
                f"a stream of {rate_hz} samples per second is of no use at {new_rate_hz}; convert "
                f"it first, as with sox -r {new_rate_hz}"
            )
        filters = torchaudio.transforms.Resample(self._old, self._new, dtype=torch.float32)
        self._is_needed = self._old != self._new
        self._width: int = filters.width if self._is_needed else 0
        # [new, 1, taps]: one filter for each output sample of a period of both rates.
        self._filters: Tensor = filters.kernel if self._is_needed else torch.zeros(0)
        self._kept_N = torch.zeros(self._width)
        self._num_in = self._num_out = 0

    def push(self, samples_N: Tensor, *, is_last: bool = False) -> Tensor:
        """The samples at the new rate that `samples_N` completes; with `is_last` all of them."""
        if not self._is_needed:
            return samples_N
        self._num_in += len(samples_N)
        self._kept_N = torch.cat((self._kept_N, samples_N))
        if is_last:
            self._kept_N = F.pad(self._kept_N, (0, self._width + self._old))
        # A step of the convolution reads `taps` samples and gives `new` ones, one of each filter;
        # the next step begins `old` samples later. torchaudio pads the whole by `width` zeros
        # before and `width + old` after it, and this does the same to the first and the last chunk.
        #
        #     kept     [ taps ............. ]
        #                  [ taps ............. ]      `old` further: one period of both rates
        num_periods = (len(self._kept_N) - self._filters.shape[-1]) // self._old + 1
        if num_periods < 1:
            return samples_N.new_zeros(0)
        out_11 = F.conv1d(self._kept_N[None, None], self._filters, stride=self._old)
        out_N = out_11[0].T.flatten()
        self._kept_N = self._kept_N[num_periods * self._old :].clone()
        if is_last:
            # The zeros after the end complete more periods than the audio has.
            num_left = -(-self._new * self._num_in // self._old) - self._num_out
            out_N = out_N[:num_left]
        self._num_out += len(out_N)
        return out_N
