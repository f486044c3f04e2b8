"""The whole configuration of a run, and the network that it describes."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.core.config import Layer, Origin, dotted, resolve, to_dict, updated
from bench.core.errors import ExhaustedError, UserError, first_line
from bench.core.lookup import look_up
from bench.core.memory import as_exhausted, available_bytes
from bench.core.seeding import derive
from bench.data.augment import AugmentConfig
from bench.data.batches import BatchConfig
from bench.data.corpora import CorpusConfig
from bench.data.features import FeatureConfig
from bench.data.units import UnitsConfig
from bench.training.optim import OptimConfig
from bench.training.outside import OUTSIDE, in_words
from variants import VARIANTS, family_file
from variants.cost import num_parameters
from variants.spec import AcousticModel, check_range

MAX_EPOCHS = 100_000
"""The order of each epoch is drawn when a run begins."""
NETWORK_KEYS = ("model.", "features.", "units.")
"""How the config keys begin on which the network's layers depend, besides the variant."""
BYTES_PER_WEIGHT = 4
BYTES_PER_TRAINED_WEIGHT = 16
"""With its gradient and the two moments of Adam."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, and how often to evaluate, log and save."""

    num_epochs: int = 20
    max_train_seconds: float | None = None
    """Cap on the computing time of training steps, over all resumes: CPU seconds on a CPU, so that
    other processes on the machine do not count. A run that reaches the cap is evaluated and ends
    with state "cut"."""
    patience: int | None = None
    """Stop after this many epochs without a lower valid WER; None: no early stopping."""
    eval_every_epochs: int = 1
    log_every_steps: int = 10
    checkpoint_every_seconds: float = 60.0
    """A killed run loses at most this much work."""
    num_micro_batches: int = 1
    """Number of parts in which a batch goes through the network, to save memory. Gradients add up
    to that of the whole batch; batch normalisation uses the statistics of each part."""
    average_decay: float = 0.0
    """Above 0, the exponential moving average of the weights is evaluated and saved as the best
    checkpoint; it averages over about 1 / (1 - decay) steps (Polyak and Juditsky 1992; see
    bench.training.model_ema). Training continues with the weights themselves. 0: off."""
    consistency_weight: float = 0.0
    """Weight of the consistency loss of CR-CTC (Yao et al. 2024, arXiv:2410.05101; see
    bench.training.consistency). Above 0, each batch goes through the network as two augmented
    views, with masks, warp and dropout drawn independently, and the loss adds the divergence
    between their outputs. The paper uses a weight of 0.2 and masks 2.5 times as many frames. A step
    takes twice the time and memory; its audio counts once. 0: off."""
    deterministic: bool = False
    """Use only deterministic algorithms, which are slower on CUDA. On a CPU results are
    deterministic anyway for a given number of threads."""

    def __post_init__(self) -> None:
        check_range(self, "num_epochs", "patience", "eval_every_epochs", at_least=1)
        check_range(self, "log_every_steps", "num_micro_batches", at_least=1)
        check_range(self, "num_epochs", at_most=MAX_EPOCHS)
        check_range(self, "average_decay", at_least=0, below=1)
        check_range(self, "consistency_weight", at_least=0, below=math.inf)
        check_range(self, "max_train_seconds", above=0)
        check_range(self, "checkpoint_every_seconds", at_least=0)

    @property
    def num_views(self) -> int:
        """Augmented views of each utterance in a step."""
        return 2 if self.consistency_weight else 1


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a run's numbers."""

    variant: str
    """A key of variants.VARIANTS; of a variant from outside it includes a digest of its source."""
    model: Any
    """The variant's own config."""
    corpus: CorpusConfig
    features: FeatureConfig = field(default_factory=FeatureConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
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
    """The default config of `variant`.

    Raises:
        UserError: unknown variant.
    """
    spec = look_up(VARIANTS, variant, "variant")
    bare = RunConfig(variant=variant, model=spec.config, corpus=corpus)
    return resolve(bare, [variant_layer(variant)]).config


def variant_layer(variant: str) -> Layer:
    """What the registry says of `variant`: its network, and the features that it expects.

    Raises:
        UserError: unknown variant.
    """
    spec = look_up(VARIANTS, variant, "variant")
    model = {"variant": variant, "model": to_dict(spec.config), "features": spec.features}
    source = OUTSIDE.get(variant)
    declared = f"{family_file(variant)} {variant}" if source is None else source.title
    return Layer(Origin("variant", declared), dotted(model))


def run_config_from_dict(values: Mapping[str, object]) -> RunConfig:
    """The inverse of bench.core.config.to_dict.

    Raises:
        UserError: a key or value that this version does not know, or no variant.
    """
    variant = values.get("variant")
    if not isinstance(variant, str):
        raise UserError("a run config names its variant, got none; write for instance variant=…")
    default = default_run_config(variant, CorpusConfig())
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
        raise UserError(
            f"variant {config.variant} cannot be built in this size ({first_line(error)}); take a "
            "smaller one"
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
    """Refuse a network whose weights do not fit in the host's memory: for training on `device`
    "cpu" with gradients and optimizer state, on "cuda" the weights only. A GPU's own memory is not
    checked.

    Raises:
        UserError: as `check_memory`.
    """
    check_memory(config, BYTES_PER_TRAINED_WEIGHT if device == "cpu" else BYTES_PER_WEIGHT)


def _built(config: RunConfig) -> AcousticModel:
    spec, source = VARIANTS[config.variant], OUTSIDE.get(config.variant)
    try:
        with warnings.catch_warnings():
            # Of an empty weight, which is refused below.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
            num_bins, num_symbols = config.features.num_bins, config.units.num_symbols
            model = spec.build(config.model, num_bins, num_symbols)
    except ValueError as error:
        raise UserError(f"variant {config.variant} cannot be built: {error}") from error
    except Exception as error:
        if source is None or as_exhausted(error) is not None:
            raise
        said = in_words(error, source.path)
        raise UserError(f"variant {config.variant} cannot be built: {said}") from error
    if not isinstance(model, AcousticModel):
        raise UserError(
            f"variant {config.variant} must build a variants.spec.AcousticModel, got "
            f"{type(model).__name__}; derive the network from it"
        )
    for name, weight in model.named_parameters():
        if not weight.numel():
            raise UserError(
                f"variant {config.variant} cannot be built: its weight {name} is empty, of shape "
                f"{tuple(weight.shape)}; give each width at least 1"
            )
    return model
