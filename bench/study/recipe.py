"""Recipes: settings that were searched for once and are kept by name, in ``sweeps/recipes/``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.config import Layer, Origin, Settings, dotted, from_dict
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.study.space import SWEEPS, file_name, read_toml

FOLDER = SWEEPS / "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a good run of one variant on one corpus."""

    name: str
    summary: str
    """What it reached, how long it took, where."""
    variant: str
    corpus: str
    """As ``--corpus`` takes it."""
    set: Settings
    """They override the defaults of the variant's space, and the budget."""

    @property
    def file(self) -> str:
        """As messages and origins name it."""
        return file_name(FOLDER / f"{self.name}.toml")

    def layer(self) -> Layer:
        """Its values."""
        return Layer(Origin("recipe", self.file), self.set)


def load_recipes(folder: Path = FOLDER) -> dict[str, Recipe]:
    """Every recipe of ``sweeps/recipes``, by name."""
    return {path.stem: load_recipe(path.stem, folder) for path in sorted(folder.glob("*.toml"))}


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
    if isinstance(values["set"], Mapping):
        values["set"] = dotted(values["set"])
    return from_dict(Recipe, {"name": name, **values}, f"{path.name} ")
