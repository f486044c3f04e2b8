"""A small untrained network that hears nonsense, the same nonsense for the same audio."""

from pathlib import Path
from typing import Any

import torch

from bench.core.config import updated
from bench.data.corpora import CorpusConfig
from bench.data.features import CorpusStats
from bench.data.units import LETTERS, Units
from bench.training.checkpoint import TrainedNetwork, save
from bench.training.config import build_model, default_run_config

STATS = CorpusStats(mean=(-7.0,) * 24, std=(2.5,) * 24)
STREAMING = {"features.normalize": "corpus"}
"""What a network needs that listens while audio arrives; it goes with STATS."""
TINY = {
    "features.num_bins": 24,
    "model.convs": [[24, 5, 2]],
    "model.num_layers": 1,
    "model.width": 24,
    "model.blank_bias": 0.0,  # an untrained network hears something
}


def babbler(
    stats: CorpusStats | None = STATS, units: Units = LETTERS, **settings: Any
) -> TrainedNetwork:
    """The network, in evaluation mode, and what goes with it; it outputs letters whatever `units`
    say of its symbols."""
    torch.manual_seed(0)
    config = updated(default_run_config("ds-gru", CorpusConfig(name="tones")), TINY | settings)
    model = build_model(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return TrainedNetwork(model.eval(), config, stats, units)


def saved_babbler(path: Path, stats: CorpusStats | None = None, **settings: Any) -> Path:
    """A checkpoint of it."""
    trained = babbler(stats, **settings)
    save(path, trained.config, trained.network, stats, trained.units)
    return path
