"""Costs of training and recognition: of each system's runs, and as measured by bench.speed."""

from dataclasses import dataclass

from reports.columns import SystemColumns, rows_of
from reports.input import ReportInput
from reports.measurements import SpeedRow
from reports.palette import tones_of

TITLE = "Costs"


class SystemRow(SystemColumns):
    """A system as the table of systems has it."""

    tone: int


@dataclass(frozen=True)
class Numbers:
    """Both tables."""

    systems: list[SystemRow]
    measurements: tuple[SpeedRow, ...]
    differ: tuple[str, ...] = ()
    """What makes the seconds of the first table not comparable."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a run's time, in the order of the rows' shares."""
        return tuple(dict.fromkeys(phase for row in self.measurements for phase in row.shares))


def numbers(report_input: ReportInput) -> Numbers:
    """The rows in the study's order."""
    systems = report_input.systems
    toned = systems.assign(tone=systems["system"].map(tones_of(report_input)))
    return Numbers(rows_of(toned, SystemRow), report_input.speed, report_input.costs_differ)
