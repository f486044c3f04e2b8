"""A planned look at a study, as its folder keeps it (bench.study.rounds) and the page shows it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PairAtLook:
    """A pair of systems as a look found it; unknown numbers are None."""

    a: str
    b: str
    claim: bool
    """Registered before the study."""
    outcome: int
    """A constant of bench.stats.looks: OPEN (0), DIFFERENT or EQUIVALENT."""
    stage: int
    """The index in the plan's looks of the number of seeds that both systems had reached."""
    decided_at: int
    """The number of the look, from 1; of an open pair the last."""
    delta: float
    """WER of b minus WER of a, from the runs when the stage was reached."""
    variances: tuple[tuple[float | None, ...], ...]
    """Of that difference, from the pair's own seeds and from the pool: each with its noise, see
    bench.stats.component."""
    p: float | None
    p_adjusted: float | None
    level: float
    """What p was compared with."""
    half_width: float | None
    """Of the interval that decided, at the level `coverage`."""
    coverage: float

    @property
    def is_open(self) -> bool:
        """Whether it is not decided yet."""
        return self.outcome == 0

    @property
    def interval(self) -> tuple[float, float]:
        """Of `delta`; NaN if unknown."""
        half = math.nan if self.half_width is None else self.half_width
        return self.delta - half, self.delta + half


@dataclass(frozen=True, kw_only=True)
class Look:
    """The record of a look."""

    number: int
    """From 1."""
    taken_at: str
    seeds: Mapping[str, int]
    """Confirm runs of each system so far, by label."""
    next_seeds: Mapping[str, int]
    """For the next look; the same if this was the last."""
    pairs: tuple[PairAtLook, ...]

    @property
    def is_last(self) -> bool:
        """Whether every pair is decided or has no look left."""
        return self.next_seeds == self.seeds
