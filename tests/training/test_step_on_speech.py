"""A skipped step on speech: a run with a batch that is not finite in epoch 2 ends with the error
rate that it has without that batch.

The table, of `spoken`:

    pytest -m slow -s tests/training/test_step_on_speech.py
"""

import math
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from bench.core.config import updated
from bench.data import batches
from bench.data.corpora import CorpusConfig, load_corpus
from bench.runs.run import datasets
from bench.study.space import load_space
from bench.training import loop
from bench.training.config import RunConfig, build_model, default_run_config
from bench.training.loop import TrainingData
from bench.training.progress import TrainResult
from tests.training.test_step import Faults

NUM_EPOCHS = 10
EPOCH, BATCH = 1, 5


@pytest.fixture(scope="module")
def config() -> RunConfig:
    """As a sweep trains its default."""
    base = default_run_config("ds-gru", CorpusConfig(name="spoken"))
    space = load_space("ds-gru", base)
    settings = {**space.fixed, **{k: d.default for k, d in space.search.items()}}
    return updated(base, {**settings, "training.num_epochs": NUM_EPOCHS})


@pytest.fixture(scope="module")
def data(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        sets = datasets(load_corpus(config.corpus), config, frozenset())
    return TrainingData(**{name: sets[name] for name in ("train", "valid", "watch")})


def trained(config: RunConfig, data: TrainingData, seed: int, folder: Path) -> TrainResult:
    config = updated(config, {"seed": seed})
    torch.manual_seed(seed)
    model = build_model(config)
    return loop.train(
        config, model, data, device=torch.device("cpu"), directory=folder, report=lambda _: False
    )


@pytest.mark.slow
def test_a_batch_that_is_not_finite_costs_no_more_than_its_absence(
    config: RunConfig, data: TrainingData, tmp_path: Path
) -> None:
    whole = batches.epoch_order

    def without_the_batch(*args: object, epoch: int, **kwargs: object) -> list[list[int]]:
        order = whole(*args, epoch=epoch, **kwargs)  # type: ignore[arg-type]
        return order[:BATCH] + order[BATCH + 1 :] if epoch == EPOCH else order

    wers: dict[str, list[float]] = {"with the batch": [], "without it": []}
    for seed in (0, 1):
        step = len(whole(data.train, config.batches, seed=seed, epoch=0)) + BATCH
        with pytest.MonkeyPatch.context() as patched:
            Faults(patched, [step], "one NaN", seed=seed, num_steps=5_000)
            result = trained(config, data, seed, tmp_path / f"with-{seed}")
        assert (result.state, result.num_nonfinite) == ("finished", 1)
        wers["with the batch"].append(result.best["valid/wer"])
        with (
            patch.object(batches, "epoch_order", without_the_batch),
            patch.object(loop, "epoch_order", without_the_batch),
        ):
            result = trained(config, data, seed, tmp_path / f"without-{seed}")
        assert (result.state, result.num_nonfinite) == ("finished", 0)
        wers["without it"].append(result.best["valid/wer"])
        print(*(f"{name}: {100 * w[-1]:.1f} %" for name, w in wers.items()), sep="; ")
    gaps = np.subtract(*wers.values())
    spread = max(np.std(w, ddof=1) for w in wers.values())
    assert abs(gaps.mean()) <= 3 * spread * math.sqrt(2 / len(gaps)), (gaps, spread)
