"""How long a recogniser lets one speaker wait."""

import time
from dataclasses import dataclass
from statistics import median

import torch

from bench.costs.excerpt import spread
from bench.data.audio import read_utterance
from bench.data.batches import Dataset
from bench.training.config import RunConfig
from bench.training.evaluate import transcribe
from variants.spec import AcousticModel

MAX_UTTERANCES = 12


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """From recording to text, one utterance at a time, decoded greedily."""

    latency_seconds: float
    """Of an utterance, the median."""
    real_time_factor: float
    """Seconds of computing per second of audio, over all utterances."""


def time_recognition(
    model: AcousticModel, config: RunConfig, dataset: Dataset, device: torch.device
) -> Recognition:
    """Read, transform, recognise and decode a few utterances of `dataset`, short ones and long.

    The network is on `device`; it is left in evaluation mode.
    """
    model.eval()
    by_length = sorted(dataset.utterances, key=lambda utterance: utterance.seconds)
    heard = spread(by_length, min(1.0, MAX_UTTERANCES / len(by_length)))
    taken = []
    for utterance in (heard[-1], *heard):  # the first one warms up
        begun = time.perf_counter()
        # Text comes back to the host, so this waits for the device.
        waveform_N = read_utterance(utterance, config.features.sample_rate_hz)
        transcribe(model, config, waveform_N, device, dataset.store.stats)
        taken.append(time.perf_counter() - begun)
    return Recognition(
        latency_seconds=median(taken[1:]),
        real_time_factor=sum(taken[1:]) / sum(utterance.seconds for utterance in heard),
    )
