"""Accuracy with its uncertainty: every seed, the interval, and where the variance comes from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from reports.columns import PairColumns, SystemColumns, rows_of
from reports.input import ReportInput
from reports.scale import Estimate, Scale, scale_of, wer_of

TITLE = "Accuracy and its uncertainty"

SOURCES = {
    "seeds": "more seeds",
    "test_set": "more test speakers",
    "interaction": "more seeds or more test speakers",
}
"""Sources of variance, as in the columns `se_from_…` and `share_…`: what would reduce each."""

NAMES = ("Seeds", "Test speakers", "Seeds by speakers")
"""Of SOURCES, as table headers."""


@dataclass(frozen=True)
class SeedRow:
    """One system: its mean with interval, and its single runs in the order of their slots."""

    system: str
    wer: Estimate
    spread: float
    """Standard deviation over seeds; NaN of fewer than two."""
    parts: tuple[float, ...]
    """Of the standard error, in the order of SOURCES; NaN if a source cannot be seen."""

    @property
    def standard_error(self) -> float:
        """The root of the sum of the squared parts."""
        known = [part for part in self.parts if not math.isnan(part)]
        return math.hypot(*known) if known else math.nan


@dataclass(frozen=True)
class VarianceRow:
    """What limits one difference."""

    a: str
    b: str
    shares: tuple[float, ...]
    """Of its variance, in the order of SOURCES; NaN if a source cannot be seen."""
    remedy: str
    """What would make the largest source smaller."""
    minimum_detectable_effect: float


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    seeds: tuple[SeedRow, ...]
    scale: Scale | None
    dominant: str
    """The source that most of the variance comes from, over all systems; "" if none is known."""
    dominant_share: float
    variances: tuple[VarianceRow, ...]
    detectable: tuple[float, float] | None
    """The smallest and the largest minimum detectable effect of any pair."""
    seeds_unseen: bool
    """Every system has a single run."""


def numbers(report_input: ReportInput) -> Numbers:
    """Each system's seeds, and for each pair the sources of variance."""
    seeds = []
    for row in rows_of(report_input.systems, SystemColumns):
        wer = wer_of(row, report_input.runs)
        spread = stdev(wer.singles) if len(wer.singles) > 1 else math.nan
        parts = row["se_from_seeds"], row["se_from_test_set"], row["se_from_interaction"]
        seeds.append(SeedRow(str(row["system"]), wer, spread, parts))
    variances = tuple(
        _variance(row)
        for row in rows_of(report_input.pairs, PairColumns)
        if not math.isnan(row["share_seeds"])
    )
    dominant, share = _dominant(seeds)
    effects = [
        effect for row in variances if not math.isnan(effect := row.minimum_detectable_effect)
    ]
    return Numbers(
        seeds=tuple(seeds),
        scale=scale_of(value for row in seeds for value in row.wer.values()),
        dominant=dominant,
        dominant_share=share,
        variances=variances,
        detectable=(min(effects), max(effects)) if effects else None,
        seeds_unseen=all(math.isnan(row.parts[0]) for row in seeds),
    )


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    most = max((len(row.wer.singles) for row in numbers.seeds), default=0)
    return {
        "names": NAMES,
        "dominant": dict(zip(SOURCES, NAMES, strict=True)).get(numbers.dominant, "").lower(),
        "remedy": SOURCES.get(numbers.dominant, ""),
        "num_seeds": most,
    }


def _dominant(rows: Sequence[SeedRow]) -> tuple[str, float]:
    """The source with the largest part of the variances of all rows together, and its share."""
    sums = {
        source: sum(row.parts[i] ** 2 for row in rows if not math.isnan(row.parts[i]))
        for i, source in enumerate(SOURCES)
    }
    total = sum(sums.values())
    if not total:
        return "", math.nan
    largest = max(sums, key=lambda source: sums[source])
    return largest, sums[largest] / total


def _variance(row: PairColumns) -> VarianceRow:
    found = (row["share_seeds"], row["share_test_set"], row["share_interaction"])
    shares = dict(zip(SOURCES, found, strict=True))
    # What cannot be seen is never the largest.
    largest = max(shares, key=lambda key: -1.0 if math.isnan(shares[key]) else shares[key])
    return VarianceRow(
        a=row["a"],
        b=row["b"],
        shares=tuple(shares.values()),
        remedy=SOURCES[largest],
        minimum_detectable_effect=row["minimum_detectable_effect"],
    )
