"""Audio in chunks gives the features and the samples of the whole."""

from itertools import pairwise

import pytest
import torch
import torchaudio
from torch import Tensor

from bench.core.errors import UserError
from bench.data.features import CorpusStats, FeatureConfig, compute
from bench.data.streaming import FeatureStream, ResamplingStream

STATS = CorpusStats(mean=(-7.0,) * 64, std=(2.5,) * 64)
MEL = FeatureConfig(normalize="corpus")
SPECTROGRAM = FeatureConfig(
    kind="log_spectrogram", num_bins=161, window_ms=20.0, normalize="corpus"
)
WIDE = CorpusStats(mean=(-7.0,) * 161, std=(2.5,) * 161)


def noise(num_samples: int) -> Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(0))


def chunks(audio_N: Tensor, size: int) -> list[Tensor]:
    """Of `size` samples, 0 for chunks of random sizes, some of them empty."""
    if size:
        return list(torch.split(audio_N, size))
    generator = torch.Generator().manual_seed(1)
    sizes = torch.randint(0, 900, (10_000,), generator=generator)
    ends = [0, *(int(end) for end in sizes.cumsum(0) if end < len(audio_N)), len(audio_N)]
    return [audio_N[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize(("config", "stats"), [(MEL, STATS), (SPECTROGRAM, WIDE)])
@pytest.mark.parametrize("size", [1, 160, 161, 5_000, 0])
@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 4_321])
def test_features_of_chunks_are_those_of_the_whole(
    config: FeatureConfig, stats: CorpusStats, size: int, num_samples: int
) -> None:
    audio_N = noise(num_samples)
    stream, parts = FeatureStream(config, stats), []
    for chunk_N in chunks(audio_N, size):
        parts.append(stream.push(chunk_N))
    parts.append(stream.push(torch.zeros(0), is_last=True))
    torch.testing.assert_close(torch.cat(parts), compute(audio_N, config, stats), atol=1e-5, rtol=0)


def test_no_samples_are_no_features() -> None:
    assert FeatureStream(MEL, STATS).push(torch.zeros(0), is_last=True).shape == (0, 64)


def test_features_normalised_over_the_utterance_are_refused() -> None:
    with pytest.raises(UserError, match=r"needs features\.normalize = corpus, got utterance"):
        FeatureStream(FeatureConfig(), None)


@pytest.mark.parametrize(
    "rates", [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (11_025, 8_000), (16_000,) * 2]
)
@pytest.mark.parametrize("size", [1_000, 7_000, 0])
@pytest.mark.parametrize("num_samples", [1, 3_007, 12_345])
def test_resampled_chunks_are_those_of_the_whole(
    rates: tuple[int, int], size: int, num_samples: int
) -> None:
    audio_N = noise(num_samples)
    stream = ResamplingStream(*rates)
    parts = [stream.push(chunk_N) for chunk_N in chunks(audio_N, size)]
    parts.append(stream.push(torch.zeros(0), is_last=True))
    expected = torchaudio.functional.resample(audio_N, *rates)
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=0)


def test_no_samples_stay_none_at_another_rate() -> None:
    assert len(ResamplingStream(8_000, 16_000).push(torch.zeros(0), is_last=True)) == 0


def test_rates_without_a_common_divisor_are_refused() -> None:
    with pytest.raises(UserError, match="of 44101 samples per second is of no use at 16000"):
        ResamplingStream(44_101, 16_000)
