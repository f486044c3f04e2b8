"""The layers of a run's config, and their precedence.

Every config of a run comes from `resolve_run`: that of a study's trial or confirm run, of
`bench.train`, of `bench.speed`, and what ``bench.ls config`` prints.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.core.config import (
    DEFAULT,
    Layer,
    Origin,
    Resolved,
    Setting,
    Settings,
    dotted,
    resolve,
    to_dict,
)
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.study.space import Dimension, Space
from bench.training.config import RunConfig, default_run_config, variant_layer

LAYERS = (
    DEFAULT,  # of the config classes
    "variant",  # the registry: its network, and the features that it expects
    "corpus",  # --corpus and its companions, else a recipe's or a study's corpus
    "space",  # sweeps/base.toml, sweeps/<variant>.toml: fixed values, defaults of searched keys
    "trial",  # what a search drew for the searched keys
    "budget",  # how long to train: neither a space nor a trial can change it
    "recipe",  # one tuned run, its length included
    "system",  # what makes a study's system differ from its variant
    "flag",  # --set, --width
    "match",  # the width solved for an equal size
    "seed",  # --seed, and the number of the run in a study
)
"""From the weakest to the strongest. What a layer stronger than a trial sets is not searched."""

_STRONGER = LAYERS[LAYERS.index("trial") + 1 :]
_OWN_FLAGS = ("variant", "seed")


def resolve_run(variant: str, layers: Iterable[Layer]) -> Resolved[RunConfig]:
    """The config of a run of `variant` under `layers`, which may come in any order: LAYERS decides
    which of them wins, and of two of the same kind the later.

    Raises:
        UserError: unknown variant or key, or a value that the config refuses; names the file or the
            flag.
    """
    every = (variant_layer(variant), *layers)
    # A stable sort: two layers of one kind stay in the order in which they came.
    ordered = sorted(every, key=lambda layer: LAYERS.index(layer.origin.layer))
    return resolve(default_run_config(variant, CorpusConfig()), ordered)


def searched(space: Space, resolved: Resolved[RunConfig]) -> dict[str, Dimension]:
    """The dimensions of `space` whose keys no stronger layer than a trial sets in `resolved`."""
    pinned = {key for key, origin in resolved.origins.items() if origin.layer in _STRONGER}
    return {key: dimension for key, dimension in space.search.items() if key not in pinned}


@dataclass(frozen=True)
class Explained:
    """A config value, its origin, and the dimension that a study searches in its place."""

    key: str
    value: Setting
    origin: Origin
    searched: Dimension | None


def explained(
    resolved: Resolved[RunConfig], dimensions: Mapping[str, Dimension]
) -> tuple[Explained, ...]:
    """Every value of a config, of which a study searches `dimensions`."""
    return tuple(
        Explained(key, value, resolved.origins[key], dimensions.get(key))
        for key, value in dotted(to_dict(resolved.config)).items()
    )


def corpus_layers(corpus: CorpusConfig, source: str) -> Iterator[Layer]:
    """The corpus, named by `source`, and the flags that say how to read it."""
    usual = dotted(to_dict(CorpusConfig()))
    for key, value in dotted(to_dict(corpus)).items():
        if key in ("name", "path", "added"):
            yield Layer(Origin("corpus", source), {f"corpus.{key}": value})
        elif value != usual[key]:
            yield Layer(Origin("corpus", f"--{key}"), {f"corpus.{key}": value})


def set_layer(settings: Settings) -> Layer:
    """The settings of ``--set``.

    Raises:
        UserError: a key that has a flag of its own.
    """
    for key in settings:
        if key in _OWN_FLAGS:
            raise UserError(f"--{key} sets the {key}, got --set {key}={settings[key]}; use that")
    return Layer(Origin("flag", "--set"), settings)


def seed_layer(seed: int, source: str) -> Layer:
    """The run's seed."""
    return Layer(Origin("seed", source), {"seed": seed})
