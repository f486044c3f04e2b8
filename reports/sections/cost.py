"""Costs of training and recognition: of each system's runs, and as measured by bench.speed."""

from dataclasses import dataclass

from reports.columns import SystemColumns, rows_of
from reports.input import ReportInput
from reports.measurements import SpeedRow

TITLE = "Costs"


@dataclass(frozen=True)
class Numbers:
    """Both tables."""

    systems: list[SystemColumns]
    measurements: tuple[SpeedRow, ...]
    differ: tuple[str, ...] = ()
    """What makes the seconds of the first table not comparable."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a run's time, in the order of the rows' shares."""
        return tuple(dict.fromkeys(phase for row in self.measurements for phase in row.shares))


def numbers(report_input: ReportInput) -> Numbers:
    """The rows in the study's order."""
    systems = rows_of(report_input.systems, SystemColumns)
    return Numbers(systems, report_input.speed, report_input.costs_differ)
