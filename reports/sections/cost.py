"""Costs of training and recognition: of each system's runs, and as measured by bench.speed."""

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from reports.input import ReportInput, SpeedRow
from reports.markup import render
from reports.palette import system_names

TITLE = "Costs"


@dataclass(frozen=True)
class SystemCost:
    """One system's size and time; unknown is NaN."""

    system: str
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
    """No other system has a lower WER at as few multiply-adds."""


@dataclass(frozen=True)
class Numbers:
    """Both tables."""

    systems: tuple[SystemCost, ...]
    measurements: tuple[SpeedRow, ...]

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a run's time, in the order of the rows' shares."""
        return tuple(dict.fromkeys(phase for row in self.measurements for phase in row.shares))


def numbers(report_input: ReportInput) -> Numbers:
    """The rows in the study's order."""
    tones = {name: tone for tone, name in enumerate(system_names(report_input))}
    return Numbers(
        systems=tuple(
            SystemCost(tone=tones[row["system"]], **row)
            for row in _records(report_input.systems, SystemCost)
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
        systems=numbers.systems,
        measurements=numbers.measurements,
        phases=numbers.phases,
    )
