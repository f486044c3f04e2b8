"""Estimates with their variance: intervals, tests against zero, and tests of equivalence.

Legend: P pairs of systems; a leading "..." stands for studies that are computed at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from bench.stats.clusters import Bools, Floats
from bench.stats.component import Component

POWER = 0.8
_ROUNDING = 1e-12
"""Rates closer than this are the same: sums taken in another order."""


class Ends(NamedTuple):
    """How values [...] end at a level."""

    different: Bools
    equivalent: Bools
    half_width: Floats
    """Of the interval behind that."""
    coverage: Floats
    """Of that interval: 1 - level, of an equivalence 1 - 2 level."""


@dataclass(frozen=True)
class Estimate:
    """Values [...] whose variance has one estimate, or several of which the widest counts.

    An unknown variance is NaN, and so is all that follows from it.
    """

    value: Floats
    variances: Sequence[Component]

    def where(self, wanted: Bools, other: "Estimate") -> "Estimate":
        """This where `wanted`, else `other`, which has as many variances."""
        pairs = zip(self.variances, other.variances, strict=True)
        return Estimate(
            np.where(wanted, self.value, other.value),
            [Component.chosen(wanted, own, its) for own, its in pairs],
        )

    def half_width(self, alpha: Floats | float) -> Floats:
        """Of the two-sided interval that misses the truth with probability `alpha`."""
        return self._widest(lambda se, df: _quantile(df, 1 - np.asarray(alpha) / 2) * se)

    def ends(self, level: Floats, margin: float) -> Ends:
        """Each value's interval either leaves out zero (different), or lies, at twice the level,
        within `margin` of it (equivalent), or neither."""
        size, half_width = np.abs(self.value), self.half_width(level)
        # From the interval, so that rounding cannot part the two.
        different = size > half_width
        of_equivalence = self.half_width(2 * level)
        equivalent = ~different & (size + of_equivalence < margin)
        return Ends(
            different,
            equivalent,
            half_width=np.where(equivalent, of_equivalence, half_width),
            coverage=1 - level * np.where(equivalent, 2, 1),
        )

    def p(self) -> Floats:
        """Two-sided, of a true value of zero."""
        gap = np.where(np.abs(self.value) < _ROUNDING, 0.0, np.abs(self.value))
        return self._widest(lambda se, df: 2 * special.stdtr(df, -gap / se))

    def minimum_detectable_effect(self, alpha: Floats | float) -> Floats:
        """The true value that a two-sided test at `alpha` finds with a power of 80 % (Bloom,
        Evaluation Review 1995)."""
        level = 1 - np.asarray(alpha) / 2
        return self._widest(lambda se, df: (_quantile(df, level) + _quantile(df, POWER)) * se)

    def _widest(self, of: Callable[[Floats, Floats], Floats]) -> Floats:
        # fmax ignores NaN, so a variance that is unknown, or does not count for a pair, has no
        # part.
        found = np.full(np.shape(self.value), np.nan)
        for variance in self.variances:
            se, df = np.sqrt(variance.variance), variance.degrees_of_freedom
            found = np.fmax(found, of(se, df))
        return found


def _quantile(df: Floats, probability: Floats | float) -> Floats:
    found: Floats = special.stdtrit(df, probability)
    return found
