"""Searched ranges that were too narrow: a winner near the end of one.

The rule: the best trial has a value in the outermost tenth of a range, at either end, on the scale
of the range (logarithmic where it says so). Then the optimum may lie beyond the range, and the
system may be worse than it has to be. No edge have choices, ranges whose ends are `firm`, the lower
end of a range from zero, and the first trial, whose values were not drawn but are the defaults.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.core.config import Setting
from bench.study.space import Dimension

EDGE_SHARE = 0.1
"""Of a range, at either end."""
DEFAULTS_SLOT = 0
"""The trial that is trained with the defaults of the space."""


@dataclass(frozen=True)
class Edge:
    """A value of the best trial near an end of its range."""

    key: str
    value: float
    end: str
    """ "lower" or "upper"."""
    dimension: Dimension
    file: str
    """That states the range."""

    def sentence(self, system: str) -> str:
        """What lies where, and what to do, with neither capital nor full stop."""
        return (
            f"the best trial of {system} lies at the {self.end} edge of {self.key} "
            f"({self.value:.4g} of {self.dimension}): widen the range in {self.file} before "
            "calling it better or worse"
        )


def edges(
    searched: Mapping[str, Dimension],
    files: Mapping[str, str],
    params: Mapping[str, Setting],
    slot: int,
) -> Iterator[Edge]:
    """The edges at which the setting `params` of the best trial, in `slot`, lies; `files` state the
    dimensions."""
    if slot == DEFAULTS_SLOT:
        return
    for key, dimension in searched.items():
        value = params.get(key)
        if isinstance(value, int | float) and (end := end_of(dimension, value)):
            yield Edge(key, float(value), end, dimension, files.get(key, "the space's file"))


def end_of(dimension: Dimension, value: float) -> str:
    """ "lower" or "upper" if `value` lies near that end of `dimension`, else ""."""
    if dimension.low is None or dimension.high is None or dimension.firm:
        return ""
    low, high = float(dimension.low), float(dimension.high)
    if dimension.log:
        place = math.log(value / low) / math.log(high / low) if value > 0 else 0.0
    else:
        place = (value - low) / (high - low)
    if place <= EDGE_SHARE:
        # Nothing lies below zero, of a dropout for instance: the search was not too narrow there.
        return "lower" if low else ""
    return "upper" if place >= 1 - EDGE_SHARE else ""
