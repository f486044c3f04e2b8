"""An estimate of a variance together with how well it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from bench.stats.clusters import Bools, Floats

Index = int | slice | EllipsisType | NDArray[np.integer] | Bools
"""What selects along one axis of an array."""


@dataclass(frozen=True)
class Component:
    """An estimate of a variance, and its own uncertainty."""

    variance: Floats
    noise: Floats
    """variance² / degrees of freedom. It adds up when independent estimates are added."""

    @classmethod
    def of(cls, variance: Floats, degrees_of_freedom: float | Floats) -> "Component":
        """From a mean square."""
        variance = np.asarray(variance, dtype=np.float64)
        return cls(variance, variance**2 / degrees_of_freedom)

    @property
    def degrees_of_freedom(self) -> Floats:
        """Satterthwaite's; a fraction, and one at least: a subtracted component can take it below
        what the poorest mean square has."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.maximum(1.0, self.variance**2 / self.noise)
        return found

    def __add__(self, other: "Component") -> "Component":
        return Component(self.variance + other.variance, self.noise + other.noise)

    def __mul__(self, factor: float | Floats) -> "Component":
        return Component(self.variance * factor, self.noise * np.asarray(factor) ** 2)

    def __getitem__(self, place: Index | tuple[Index, ...]) -> "Component":
        return Component(self.variance[place], self.noise[place])

    def where(self, condition: Bools) -> "Component":
        """NaN, unknown, where `condition` is false."""
        nan = np.nan
        return Component(
            np.where(condition, self.variance, nan), np.where(condition, self.noise, nan)
        )

    @classmethod
    def chosen(cls, condition: Bools, this: "Component", other: "Component") -> "Component":
        """`this` where `condition` is true, `other` elsewhere."""
        return cls(
            np.where(condition, this.variance, other.variance),
            np.where(condition, this.noise, other.noise),
        )

    @classmethod
    def stacked(cls, parts: Sequence["Component"]) -> "Component":
        """Along a new last axis."""
        return cls(
            np.stack([part.variance for part in parts], axis=-1),
            np.stack([part.noise for part in parts], axis=-1),
        )
