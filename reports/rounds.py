"""Planned looks at a study, as a report shows them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PairAtLook:
    """A pair at a look; unknown numbers are NaN."""

    a: str
    b: str
    claim: bool
    outcome: str
    """"<name> better", "withheld", "equivalent" or "open"."""
    decided_at: int
    """The number of the look; of an open pair the last."""
    num_seeds: int
    """That both systems had reached when the numbers were taken."""
    delta: float
    """WER of b minus WER of a."""
    half_width: float
    """Of the interval that decided, at the level `coverage`."""
    coverage: float
    p: float
    level: float
    """What p was compared with."""


@dataclass(frozen=True, kw_only=True)
class LookSummary:
    """A planned look that was taken."""

    number: int
    taken_at: str
    seeds: Mapping[str, int]
    """Confirm runs of each system."""
    next_seeds: Mapping[str, int]
    """For the next look; the same at the last."""
    pairs: tuple[PairAtLook, ...]

    @property
    def is_last(self) -> bool:
        """Whether every pair is decided or has no look left."""
        return self.next_seeds == self.seeds
