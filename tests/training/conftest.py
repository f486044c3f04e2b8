"""A run small enough to be trained to its end many times: tones, and a GRU of 24 units."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from bench.core.config import updated
from bench.data.batches import Dataset
from bench.data.corpora import CorpusConfig
from bench.data.store import FeatureStore, open_store
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.training import checkpoint
from bench.training.config import RunConfig, build_model, default_run_config
from bench.training.loop import TrainingData, train
from bench.training.progress import Progress, TrainResult
from bench.training.step import train_step
from variants.spec import AcousticModel

CPU = torch.device("cpu")
Configure = Callable[..., RunConfig]

TINY = {
    "features.num_bins": 24,
    "model.convs": [[24, 5, 2]],
    "model.num_layers": 1,
    "model.width": 24,
    "model.dropout": 0.2,
    "augment.time_mask_frames": 5,
    "augment.freq_mask_bins": 4,
    "batches.batch_seconds": 2.0,
    "batches.sortagrad": True,
    "training.num_epochs": 3,
    "training.log_every_steps": 3,
    "optim.learning_rate": 0.02,
}


EXTRAS = {
    "training.average_decay": 0.9,
    "training.consistency_weight": 0.2,
    "augment.tempo_change": 0.2,
    "augment.frequency_warp": 0.1,
}
"""What a run leaves out unless it is asked for."""


@pytest.fixture(scope="session")
def tiny() -> Configure:
    """``tiny(**{"training.num_epochs": 2})``: the config of a tiny run with these differences."""

    def configure(**changes: Any) -> RunConfig:
        return updated(default_run_config("ds-gru", CorpusConfig(name="tones")), TINY | changes)

    return configure


@pytest.fixture
def store(tiny: Configure, tone_corpus: Corpus) -> FeatureStore:
    return open_store(tone_corpus, tiny().features)


@pytest.fixture
def data(tone_corpus: Corpus, store: FeatureStore) -> TrainingData:
    train, valid, watch = (
        Dataset(tone_corpus.split(name), store, LETTERS) for name in ("train", "valid", "watch")
    )
    return TrainingData(train=train, valid=valid, watch=watch)


class DeathError(Exception):
    """Stands for whatever ends a process."""


def _die() -> None:
    raise DeathError


@dataclass
class Run:
    """Trains in a folder, again and again as processes would, and keeps what was reported."""

    config: RunConfig
    data: TrainingData
    directory: Path
    device: torch.device = CPU
    num_ranks: int = 1
    reports: list[Progress] = field(default_factory=list)

    def __call__(
        self,
        model: AcousticModel | None = None,
        stop: Callable[[Progress], bool] = lambda _: False,
        before_save: Callable[[], None] = lambda: None,
        precision: torch.dtype | None = None,
    ) -> TrainResult:
        def report(progress: Progress) -> bool:
            self.reports.append(progress)
            return stop(progress)

        return train(
            self.config,
            model or build_model(self.config),
            self.data,
            device=self.device,
            directory=self.directory,
            report=report,
            before_save=before_save,
            precision=precision,
            num_ranks=self.num_ranks,
        )

    def dying_after(self, num_steps: int, die: Callable[[], None] = _die) -> None:
        """Train for so many steps, and die at the next."""
        steps = itertools.count()

        def fragile(*args: Any) -> Any:
            if next(steps) == num_steps:
                die()
            return train_step(*args)

        with patch("bench.training.loop.train_step", fragile), pytest.raises(DeathError):
            self()

    @property
    def curves(self) -> dict[int, dict[str, float]]:
        """By step, as the tracker keeps them, without what depends on the clock."""
        clocked = "train/audio_seconds_per_second"
        return {p.step: {k: v for k, v in p.metrics.items() if k != clocked} for p in self.reports}

    @property
    def evaluations(self) -> list[Progress]:
        return [p for p in self.reports if p.evaluated]

    def left(self, name: str = "last.pt") -> Any:
        """All that a checkpoint holds but the clocks, tensors as their bytes."""
        content = checkpoint.load(self.directory / "checkpoints" / name, CPU)
        for clocked in ("seconds", "reported_train_seconds", "peak_memory_bytes"):
            content.get("loop", {}).pop(clocked, None)
        return _frozen(content)


def _frozen(value: Any) -> Any:
    """`value` with tensors as something that == compares bit for bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return [_frozen(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def run(tiny: Configure, data: TrainingData, tmp_path: Path) -> Callable[..., Run]:
    """``run(device, **changes)``: a run of ``tiny(**changes)`` in a folder of its own."""
    numbers = itertools.count()

    def make(device: torch.device = CPU, **changes: Any) -> Run:
        return Run(tiny(**changes), data, tmp_path / f"run-{next(numbers)}", device)

    return make
