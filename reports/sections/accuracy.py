"""Accuracy with its uncertainty: every seed, the interval, and where the variance comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import stdev
from typing import Any

from reports.input import ReportInput
from reports.markup import render
from reports.palette import variant_names
from reports.scale import Estimate, Scale, scale_of

TITLE = "Accuracy and its uncertainty"

SOURCES = {
    "share_seeds": ("seeds", "more seeds"),
    "share_test_set": ("the test set", "more test speakers"),
    "share_interaction": ("seeds by test set", "more of either"),
    "share_search": ("the search", "repeated searches"),
}
"""Column of the pairs: what it is called, and what would make it smaller."""


@dataclass(frozen=True)
class SeedRow:
    """One variant: its mean with interval, and its single runs in the order of their slots."""

    variant: str
    tone: int
    wer: Estimate
    spread: float
    """Standard deviation over seeds; NaN of fewer than two."""


@dataclass(frozen=True)
class VarianceRow:
    """What limits one difference."""

    a: str
    b: str
    tone_a: int
    tone_b: int
    shares: tuple[float, ...]
    """Of its variance, in the order of SOURCES; NaN if a source cannot be seen."""
    remedy: str
    """What would make the largest source smaller."""
    smallest_gap: float


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    seeds: tuple[SeedRow, ...]
    scale: Scale | None
    variances: tuple[VarianceRow, ...]
    one_search: bool
    """Whether each variant was searched once, so that the luck of a search cannot be seen."""


def numbers(report_input: ReportInput) -> Numbers:
    """Each variant's seeds, and for each pair the sources of variance."""
    names = variant_names(report_input)
    tones = {name: tone for tone, name in enumerate(names)}
    runs = report_input.runs
    seeds = []
    for _, row in report_input.variants.iterrows():
        own = runs[(runs["variant"] == row["variant"]) & (runs["kind"] == "confirm")]
        singles = tuple(own.sort_values("slot")["test_wer"].dropna().astype(float))
        wer = Estimate(row["wer_mean"], row["wer_low"], row["wer_high"], singles)
        spread = stdev(singles) if len(singles) > 1 else math.nan
        seeds.append(SeedRow(str(row["variant"]), tones[str(row["variant"])], wer, spread))
    variances = tuple(
        _variance(row, tones)
        for row in report_input.pairs.to_dict("records")
        if not math.isnan(row["share_seeds"])
    )
    return Numbers(
        seeds=tuple(seeds),
        scale=scale_of(value for row in seeds for value in row.wer.values()),
        variances=variances,
        one_search=all(math.isnan(row.shares[-1]) for row in variances),
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    sources = [name for name, _ in SOURCES.values()]
    most = max((len(row.wer.singles) for row in numbers.seeds), default=0)
    return render("sections/accuracy.html", numbers=numbers, sources=sources, num_seeds=most)


def _variance(row: Mapping[Any, Any], tones: dict[str, int]) -> VarianceRow:
    a, b = str(row["a"]), str(row["b"])
    shares = {key: float(str(row[key])) for key in SOURCES}
    largest = max(shares, key=lambda key: -1.0 if math.isnan(shares[key]) else shares[key])
    return VarianceRow(
        a=a,
        b=b,
        tone_a=tones[a],
        tone_b=tones[b],
        shares=tuple(shares.values()),
        remedy=SOURCES[largest][1],
        smallest_gap=float(str(row["smallest_gap"])),
    )
