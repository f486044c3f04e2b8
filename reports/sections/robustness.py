"""In noise and in a room: WER under each test condition, and whether the gaps change with it."""

from dataclasses import dataclass

from reports.columns import Interval
from reports.input import ConditionChange, ConditionGap, ReportInput, Robustness
from reports.markup import render
from reports.palette import tones_of

TITLE = "In noise and in a room"


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    found: Robustness | None
    tones: dict[str, int]
    """By system."""
    systems: tuple[str, ...]
    """Those that were scored."""
    rows: tuple[tuple[str, tuple[Interval, ...]], ...]
    """Condition, and the WER of each of `systems`."""
    gaps: tuple[ConditionGap, ...]
    changes: tuple[ConditionChange, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """One row a condition."""
    tones = tones_of(report_input)
    found = report_input.robustness
    if found is None:
        return Numbers(None, tones, (), (), (), ())
    systems = tuple(dict.fromkeys(rate.system for rate in found.rates))
    wers = {(rate.condition, rate.system): rate.wer for rate in found.rates}
    conditions = dict.fromkeys(rate.condition for rate in found.rates)
    rows = tuple((title, tuple(wers[title, name] for name in systems)) for title in conditions)
    return Numbers(found, tones, systems, rows, found.gaps, found.changes)


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/robustness.html", numbers=numbers)
