"""Recipes: settings that were searched for once and are kept by name, in ``sweeps/recipes/``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.study.space import SWEEPS, read_toml

FOLDER = SWEEPS / "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a good run of one variant on one corpus was trained with."""

    name: str
    summary: str
    """What it reached, how long it took, where."""
    variant: str
    corpus: str
    """As ``--corpus`` takes it."""
    set: Mapping[str, Any]
    """Config values by dotted key; they go before the defaults of the variant's space."""


def load_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """The recipe ``NAME.toml``.

    Raises:
        UserError: unknown name, or a file that has other keys than a recipe's, or lacks one.
    """
    path = look_up({path.stem: path for path in sorted(folder.glob("*.toml"))}, name, "recipe")
    values = read_toml(path)
    expected = {"summary", "variant", "corpus", "set"}
    if values.keys() != expected:
        raise UserError(
            f"{path} must have the keys {', '.join(sorted(expected))}, has "
            f"{', '.join(sorted(values))}; correct it"
        )
    return from_dict(Recipe, {"name": name, **values}, f"{path.name} ")
