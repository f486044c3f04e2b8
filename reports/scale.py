"""The axis of the small drawings of intervals inside tables."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from reports.columns import SystemColumns

WIDTH = 200.0
MARGIN = 10.0


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and the single values it comes from."""

    mean: float
    low: float
    high: float
    singles: tuple[float, ...] = ()

    @property
    def known(self) -> bool:
        """False of a mean that could not be computed."""
        return math.isfinite(self.mean)

    def values(self) -> list[float]:
        """Everything that has to fit on the axis."""
        return [v for v in (self.mean, self.low, self.high, *self.singles) if math.isfinite(v)]


def wer_of(system: SystemColumns, runs: pd.DataFrame) -> Estimate:
    """The test WER of a system, with those of its confirm runs in the order of their slots."""
    own = runs[(runs["system"] == system["system"]) & (runs["kind"] == "confirm")]
    singles = tuple(own.sort_values("slot")["test_wer"].dropna().astype(float))
    return Estimate(system["wer_mean"], system["wer_low"], system["wer_high"], singles)


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`, drawn `WIDTH` wide."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where `value` stands, from the left edge of the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 2)


def scale_of(values: Iterable[float]) -> Scale | None:
    """An axis with two to six round ticks that holds all `values`; None without values."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return None
    low, high = min(known), max(known)
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-4)
    magnitude = 10.0 ** math.floor(math.log10(span / 2))
    # The first of 1, 2, 5 and 10 times the power of ten that needs at most four steps; then out to
    # the next tick on both sides.
    step = next(m * magnitude for m in (1, 2, 5, 10) if span / (m * magnitude) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)
