"""A network small enough to train in milliseconds, on tones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.core.config import updated
from bench.costs.data import excerpt
from bench.data.corpora import CorpusConfig
from bench.data.store import FeatureStore, open_store
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.training.config import RunConfig, build_model, default_run_config
from bench.training.loop import TrainingData

CPU = torch.device("cpu")
Configure = Callable[..., RunConfig]

TINY = {
    "features.num_bins": 24,
    "model.convs": [[24, 5, 2]],
    "model.num_layers": 1,
    "model.width": 24,
    "model.dropout": 0.0,
    "augment.time_mask_frames": 5,
    "augment.freq_mask_bins": 4,
    "batches.batch_seconds": 2.0,
    "training.num_epochs": 500,
    "training.log_every_steps": 2,
    "optim.learning_rate": 0.02,
}


@pytest.fixture(scope="session")
def tiny() -> Configure:
    """``tiny(cell="lstm")``: the config of a tiny run with these differences of its model."""

    def configure(**changes: Any) -> RunConfig:
        base = default_run_config("ds-gru", CorpusConfig(name="tones"))
        return updated(base, TINY | {f"model.{key}": value for key, value in changes.items()})

    return configure


@pytest.fixture
def store(tiny: Configure, tone_corpus: Corpus) -> FeatureStore:
    return open_store(tone_corpus, tiny().features)


@pytest.fixture
def data(tiny: Configure, tone_corpus: Corpus, store: FeatureStore) -> TrainingData:
    """All of the corpus."""
    model = build_model(tiny())
    return excerpt(
        tone_corpus, store, minutes=60, output_lengths=model.output_lengths, units=LETTERS
    )
