"""Latency: error rate against what a user waits for, and the parts of the wait."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from reports.input import ReportInput
from reports.latency_row import LatencyRow
from reports.markup import render
from reports.palette import system_names
from reports.sections.tradeoffs import Tradeoff, draw, tradeoff

TITLE = "Latency"

COST = "user_perceived_ms"
WORDS = "user-perceived latency, ms"


@dataclass(frozen=True, kw_only=True)
class SystemLatency:
    """One system: means over its confirm runs, in milliseconds; None where nothing was measured."""

    system: str
    tone: int
    num_runs: int
    cannot_stream: str
    mean_look_ahead_ms: float
    look_ahead_ms: float
    compute_p50_ms: float
    compute_p90_ms: float
    compute_p99_ms: float
    emission_p50_ms: float | None
    emission_p90_ms: float | None
    user_perceived_ms: float | None
    finalisation_ms: float
    unstable_share: float


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
    tones = {name: tone for tone, name in enumerate(system_names(report_input))}
    rows = [row for row in report_input.latency if row.system in tones]
    by_system: dict[str, list[LatencyRow]] = {}
    for row in rows:
        by_system.setdefault(row.system, []).append(row)
    points = report_input.tradeoffs
    own = points[points["cost"] == COST].merge(
        report_input.systems[["system", "wer_mean", "wer_low", "wer_high"]], on="system"
    )
    return Numbers(
        systems=tuple(_system(name, tones[name], runs) for name, runs in by_system.items()),
        tradeoff=tradeoff(COST, WORDS, own, tones) if len(own) > 1 else None,
        device=rows[0].device if rows else "",
        aligners=tuple(dict.fromkeys(row.aligner for row in rows)),
        chunk_ms=rows[0].chunk_ms if rows else 0.0,
        endpoint_ms=rows[0].endpoint_ms if rows else 0.0,
    )


def _system(name: str, tone: int, runs: list[LatencyRow]) -> SystemLatency:
    return SystemLatency(
        system=name,
        tone=tone,
        num_runs=len(runs),
        cannot_stream=runs[0].cannot_stream,
        mean_look_ahead_ms=fmean(run.mean_look_ahead_ms for run in runs),
        look_ahead_ms=max(run.look_ahead_ms for run in runs),
        compute_p50_ms=fmean(run.compute_p50_ms for run in runs),
        compute_p90_ms=fmean(run.compute_p90_ms for run in runs),
        compute_p99_ms=fmean(run.compute_p99_ms for run in runs),
        emission_p50_ms=_mean(run.emission_p50_ms for run in runs),
        emission_p90_ms=_mean(run.emission_p90_ms for run in runs),
        user_perceived_ms=_mean(run.user_perceived_ms for run in runs),
        finalisation_ms=fmean(run.finalisation_ms for run in runs),
        unstable_share=fmean(run.unstable_share for run in runs),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def html(numbers: Numbers) -> str:
    """The section as markup."""
    drawn = draw(numbers.tradeoff) if numbers.tradeoff else None
    return render("sections/latency.html", numbers=numbers, drawn=drawn)
