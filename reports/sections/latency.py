"""Latency: error rate against what a user waits for, and the parts of the wait."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from statistics import fmean

from reports.input import ReportInput
from reports.measurements import LatencyRow
from reports.palette import system_names
from reports.sections.tradeoffs import Tradeoff, draw, tradeoff

TITLE = "Latency"

COST = "user_perceived_ms"
WORDS = "user-perceived latency, ms"


@dataclass(frozen=True)
class SystemLatency:
    """One system."""

    num_runs: int
    mean: LatencyRow
    """Means over its confirm runs, of `look_ahead_ms` the maximum; None where nothing was
    measured."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the section shows."""

    systems: tuple[SystemLatency, ...]
    tradeoff: Tradeoff | None
    """None with fewer than two systems."""
    device: str
    aligners: tuple[str, ...]
    chunk_ms: float
    endpoint_ms: float


def numbers(report_input: ReportInput) -> Numbers:
    """The measurements of each system, and its WER against its latency."""
    names = system_names(report_input)
    rows = [row for row in report_input.latency if row.system in names]
    by_system: dict[str, list[LatencyRow]] = {}
    for row in rows:
        by_system.setdefault(row.system, []).append(row)
    return Numbers(
        systems=tuple(map(_system, by_system.values())),
        tradeoff=tradeoff(report_input, COST, WORDS),
        device=rows[0].device if rows else "",
        aligners=tuple(dict.fromkeys(row.aligner for row in rows)),
        chunk_ms=rows[0].chunk_ms if rows else 0.0,
        endpoint_ms=rows[0].endpoint_ms if rows else 0.0,
    )


def _system(runs: list[LatencyRow]) -> SystemLatency:
    names = [field.name for field in fields(LatencyRow)]
    means: dict[str, object] = {
        name: _mean(getattr(run, name) for run in runs)
        for name in names
        if name.endswith(("_ms", "_share"))
    }
    means["look_ahead_ms"] = max(run.look_ahead_ms for run in runs)
    return SystemLatency(len(runs), replace(runs[0], **means))  # type: ignore[arg-type]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    return {"drawn": draw(numbers.tradeoff) if numbers.tradeoff else None}
