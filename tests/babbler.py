"""A small untrained network that hears nonsense, the same nonsense for the same audio."""

from pathlib import Path
from typing import Any

import torch

from bench.core.config import updated
from bench.data.corpora import CorpusConfig
from bench.data.features import CorpusStats
from bench.training.checkpoint import save
from bench.training.config import RunConfig, build_model, default_run_config
from variants.spec import AcousticModel

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


def babbler(**settings: Any) -> tuple[AcousticModel, RunConfig]:
    """The network, in evaluation mode, and its config."""
    torch.manual_seed(0)
    config = updated(default_run_config("ds-gru", CorpusConfig(name="tones")), TINY | settings)
    model = build_model(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model.eval(), config


def saved_babbler(path: Path, stats: CorpusStats | None = None, **settings: Any) -> Path:
    """A checkpoint of it."""
    model, config = babbler(**settings)
    save(path, config, model, stats)
    return path
