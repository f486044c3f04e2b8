import json
import math
from dataclasses import replace

import pytest
import torch

from bench.core.config import parse_settings, to_dict, updated
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.training.config import (
    TrainingConfig,
    build_model,
    default_run_config,
    run_config_from_dict,
)
from variants import VARIANTS

CORPUS = CorpusConfig(name="an4", path="/somewhere")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_default_survives_json(variant: str) -> None:
    config = default_run_config(variant, CORPUS)
    assert run_config_from_dict(json.loads(json.dumps(to_dict(config)))) == config
    for key, value in VARIANTS[variant].features.items():
        assert getattr(config.features, key) == value


def test_changed_values_survive_json() -> None:
    settings = ["optim.learning_rate=3e-4", "model.width=8", "training.patience=3", "seed=7"]
    config = updated(default_run_config("ds-gru", CORPUS), parse_settings(settings))
    assert (config.optim.learning_rate, config.model.width) == (3e-4, 8)
    assert (config.training.patience, config.seed) == (3, 7)
    assert run_config_from_dict(to_dict(config)) == config


def test_unknown_names_bring_near_ones() -> None:
    config = default_run_config("ds-gru", CORPUS)
    with pytest.raises(UserError, match=r"'optim.learning_rte'; did you mean learning_rate"):
        updated(config, {"optim.learning_rte": 1.0})
    with pytest.raises(UserError, match=r"unknown variant 'ds-gur'; did you mean ds-gru"):
        default_run_config("ds-gur", CORPUS)
    with pytest.raises(UserError, match="names its variant, got none"):
        run_config_from_dict({"seed": 1})


def test_variant_and_model_config_belong_together() -> None:
    config = default_run_config("ds-gru", CORPUS)
    other = next(s for s in VARIANTS.values() if type(s.config) is not type(config.model))
    with pytest.raises(ValueError, match=f"model of variant {other.name} must be a"):
        replace(config, variant=other.name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_epochs", 0, "num_epochs must be at least 1, got 0"),
        ("patience", 0, "patience must be at least 1, got 0"),
        ("eval_every_epochs", 0, "eval_every_epochs must be at least 1, got 0"),
        ("log_every_steps", 0, "log_every_steps must be at least 1, got 0"),
        ("max_train_seconds", 0.0, "max_train_seconds must be above 0, got 0.0"),
        ("average_decay", -0.1, "average_decay must be at least 0 and below 1, got -0.1"),
        ("average_decay", 1.0, "average_decay must be at least 0 and below 1, got 1.0"),
        ("average_decay", math.nan, "average_decay must be at least 0 and below 1, got nan"),
        ("consistency_weight", -0.1, "consistency_weight must be at least 0, got -0.1"),
        ("consistency_weight", math.inf, "consistency_weight must be at least 0, got inf"),
        ("consistency_weight", math.nan, "consistency_weight must be at least 0, got nan"),
        ("checkpoint_every_seconds", -1.0, "checkpoint_every_seconds must be at least 0, got -1.0"),
    ],
)
def test_values_out_of_range(key: str, value: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        updated(TrainingConfig(), {key: value})


def test_the_seed_alone_decides_the_initial_weights() -> None:
    config = updated(default_run_config("ds-gru", CORPUS), {"model.width": 8})
    torch.manual_seed(1)
    first = build_model(config).state_dict()
    torch.manual_seed(2)
    again = build_model(config).state_dict()
    other = build_model(replace(config, seed=1)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
