"""The whole configuration of a run, and the network that it describes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.core.config import updated
from bench.core.errors import ExhaustedError, UserError
from bench.core.lookup import look_up
from bench.core.memory import available_bytes
from bench.core.seeding import derive
from bench.data.augment import AugmentConfig
from bench.data.batches import BatchConfig
from bench.data.corpora import CorpusConfig
from bench.data.features import FeatureConfig
from bench.data.text import NUM_SYMBOLS
from bench.training.optim import OptimConfig
from variants import VARIANTS
from variants.cost import num_parameters
from variants.spec import AcousticModel

MAX_EPOCHS = 100_000
"""The order of each epoch is drawn when a run begins."""
BYTES_PER_WEIGHT = 4
BYTES_PER_TRAINED_WEIGHT = 16
"""With its gradient and the two moments of Adam."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, and how often to look."""

    num_epochs: int = 20
    max_train_seconds: float | None = None
    """Cap on the seconds that training steps compute for, over all resumes: CPU seconds on a CPU,
    so that other processes on the machine do not count. A run that reaches it ends there, evaluated
    and marked as cut."""
    patience: int | None = None
    """End after this many epochs without a better valid WER; None: never early."""
    eval_every_epochs: int = 1
    log_every_steps: int = 10
    checkpoint_every_seconds: float = 60.0
    """The most work that a killed run loses."""
    num_micro_batches: int = 1
    """Each batch goes through the network in so many parts, and takes less memory. The gradient is
    that of the whole batch, but batch normalisation sees the part alone."""
    average_decay: float = 0.0
    """Above 0, evaluated and kept as the best are not the weights themselves but their exponential
    moving average, which forgets in about 1 / (1 - decay) steps (Polyak and Juditsky 1992; see
    bench.training.model_ema). Training goes on with the weights. 0: off."""
    consistency_weight: float = 0.0
    """Above 0, each batch is heard twice at once, with masks, warp and dropout of their own, and
    beside CTC the two views shall agree: CR-CTC, whose authors weigh the term with 0.2 and hide 2.5
    times as many frames as without (Yao et al. 2024, arXiv:2410.05101; see
    bench.training.consistency). A step takes twice the time and memory, its audio counts once.
    0: off."""
    deterministic: bool = False
    """Only algorithms that give the same bits each time, slower on CUDA; a CPU knows no others, as
    long as its number of threads is the same."""

    def __post_init__(self) -> None:
        counts = ("num_epochs", "patience", "eval_every_epochs", "log_every_steps")
        for name in (*counts, "num_micro_batches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.num_epochs > MAX_EPOCHS:
            raise ValueError(f"num_epochs must be at most {MAX_EPOCHS}, got {self.num_epochs}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(
                f"average_decay must be at least 0 and under 1, got {self.average_decay}"
            )
        if not 0 <= self.consistency_weight < math.inf:
            raise ValueError(
                f"consistency_weight must be at least 0, got {self.consistency_weight}"
            )
        if self.max_train_seconds is not None and not self.max_train_seconds > 0:
            raise ValueError(f"max_train_seconds must be above 0, got {self.max_train_seconds}")
        if not self.checkpoint_every_seconds >= 0:
            raise ValueError(
                f"checkpoint_every_seconds must be at least 0, got {self.checkpoint_every_seconds}"
            )

    @property
    def num_views(self) -> int:
        """How often each utterance of a batch is heard in a step."""
        return 2 if self.consistency_weight else 1


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's numbers."""

    variant: str
    """One of variants.VARIANTS."""
    model: Any
    """The variant's own config."""
    corpus: CorpusConfig
    features: FeatureConfig = field(default_factory=FeatureConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        expected = type(look_up(VARIANTS, self.variant, "variant").config)
        if type(self.model) is not expected:
            raise ValueError(
                f"model of variant {self.variant} must be a {expected.__name__}, "
                f"got a {type(self.model).__name__}"
            )


def default_run_config(variant: str, corpus: CorpusConfig) -> RunConfig:
    """The config of `variant` before anything is changed.

    Raises:
        UserError: unknown variant.
    """
    spec = look_up(VARIANTS, variant, "variant")
    features = updated(FeatureConfig(), spec.features, "features.")
    return RunConfig(variant=variant, model=spec.config, corpus=corpus, features=features)


def run_config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of bench.core.config.to_dict.

    Raises:
        UserError: a key or value that this version does not know, or no variant.
    """
    if "variant" not in values:
        raise UserError("a run config names its variant, got none; write for instance variant=…")
    default = default_run_config(values["variant"], CorpusConfig())
    return updated(default, values)


def build_model(config: RunConfig) -> AcousticModel:
    """The network of `config` with the initial weights that its seed gives, on the CPU.

    Raises:
        UserError: the network cannot take features of that many bins.
        ExhaustedError: its weights need more memory than there is.
    """
    check_memory(config, BYTES_PER_WEIGHT)
    torch.manual_seed(derive(config.seed, "init"))
    return _built(config)


def model_shape(config: RunConfig) -> AcousticModel:
    """The network of `config` without weights, on torch's meta device.

    Raises:
        UserError: the network cannot take features of that many bins, or torch cannot count its
            weights.
    """
    try:
        with torch.device("meta"):
            return _built(config)
    except (RuntimeError, OverflowError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise UserError(
            f"variant {config.variant} cannot be built in this size ({said}); take a smaller one"
        ) from error


def check_memory(config: RunConfig, bytes_per_weight: int) -> None:
    """Refuse a network whose weights alone need more memory than there is, before it is allocated.

    Raises:
        UserError: as `model_shape`.
        ExhaustedError: there is less.
    """
    needed, there = bytes_per_weight * num_parameters(model_shape(config)), available_bytes()
    if needed > there:
        raise ExhaustedError(
            f"the weights of a network must fit in memory: {config.variant} has "
            f"{needed // bytes_per_weight:,}, which take {needed / 2**30:,.1f} GiB, and "
            f"{there / 2**30:,.1f} are free; take a smaller network, or free some"
        )


def check_training_memory(config: RunConfig, device: str) -> None:
    """Refuse a network that cannot be trained on `device` ("cpu", "cuda") of this machine; a GPU's
    own memory is not asked.

    Raises:
        UserError: as `check_memory`.
    """
    check_memory(config, BYTES_PER_TRAINED_WEIGHT if device == "cpu" else BYTES_PER_WEIGHT)


def _built(config: RunConfig) -> AcousticModel:
    spec = VARIANTS[config.variant]
    try:
        return spec.build(config.model, config.features.num_bins, NUM_SYMBOLS)
    except ValueError as error:
        raise UserError(f"variant {config.variant} cannot be built: {error}") from error
