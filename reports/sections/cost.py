"""Costs of training and recognition: of each system's runs, and as measured by bench.speed."""

from dataclasses import dataclass

from reports.columns import SystemColumns, rows_of
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
    differ: tuple[str, ...] = ()
    """What makes the seconds of the first table not comparable."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a run's time, in the order of the rows' shares."""
        return tuple(dict.fromkeys(phase for row in self.measurements for phase in row.shares))


def numbers(report_input: ReportInput) -> Numbers:
    """The rows in the study's order."""
    tones = {name: tone for tone, name in enumerate(system_names(report_input))}
    return Numbers(
        systems=tuple(
            SystemCost(
                system=row["system"],
                tone=tones[row["system"]],
                num_parameters=row["num_parameters"],
                macs_per_second_of_audio=row["macs_per_second_of_audio"],
                audio_seconds_per_second=row["audio_seconds_per_second"],
                train_seconds=row["train_seconds"],
                search_seconds=row["search_seconds"],
                wer_mean=row["wer_mean"],
                pareto_optimal=row["pareto_optimal"],
            )
            for row in rows_of(report_input.systems, SystemColumns)
        ),
        measurements=report_input.speed,
        differ=report_input.costs_differ,
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render(
        "sections/cost.html",
        systems=numbers.systems,
        measurements=numbers.measurements,
        phases=numbers.phases,
        differ=numbers.differ,
    )
