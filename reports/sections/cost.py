"""Costs of training and recognition: of each variant's runs, and as measured by bench.speed."""

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from reports.input import ReportInput, SpeedRow
from reports.markup import render
from reports.palette import variant_names

TITLE = "Costs"


@dataclass(frozen=True)
class VariantCost:
    """One variant's size and time; unknown is NaN."""

    variant: str
    tone: int
    num_parameters: float
    macs_per_second_of_audio: float
    audio_seconds_per_second: float
    """While its confirm runs trained, side by side with others."""
    train_seconds: float
    """Of one confirm run, mean."""
    search_seconds: float
    """Of all its trials."""
    wer_mean: float
    pareto_optimal: bool
    """No other variant has a lower WER at as few multiply-adds."""


@dataclass(frozen=True)
class Numbers:
    """Both tables."""

    variants: tuple[VariantCost, ...]
    measurements: tuple[SpeedRow, ...]

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a run's time, in the order of the rows' shares."""
        return tuple(dict.fromkeys(phase for row in self.measurements for phase in row.shares))


def numbers(report_input: ReportInput) -> Numbers:
    """The rows in the study's order."""
    tones = {name: tone for tone, name in enumerate(variant_names(report_input))}
    return Numbers(
        variants=tuple(
            VariantCost(tone=tones[row["variant"]], **row)
            for row in _records(report_input.variants, VariantCost)
        ),
        measurements=report_input.speed,
    )


def _records(table: pd.DataFrame, row_type: type) -> list[dict[str, Any]]:
    """The rows of `table`, with those columns that `row_type` has."""
    columns = [field.name for field in fields(row_type) if field.name in table.columns]
    return [{str(k): v for k, v in row.items()} for row in table[columns].to_dict("records")]


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render(
        "sections/cost.html",
        variants=numbers.variants,
        measurements=numbers.measurements,
        phases=numbers.phases,
    )
