"""In noise and in a room: WER under each test condition, and whether the gaps change with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts import Chart, chart, plain
from reports.columns import Interval
from reports.format import interval, percent
from reports.input import ConditionChange, ConditionGap, ConditionRate, ReportInput, Robustness
from reports.palette import colour, dash, tones_of

TITLE = "In noise and in a room"

BESIDE_DB = 5.0
"""How far right of the best ratio the recordings as they are stand, whose own ratio is unknown."""
APART_DB = 0.3
"""Between two systems at one ratio, so that their intervals do not lie upon each other."""


@dataclass(frozen=True)
class Line:
    """A system's WER at each ratio of a noise, the ratios rising, and on the recordings as they
    are."""

    system: str
    tone: int
    rates: tuple[tuple[float, Interval], ...]
    """Ratio in decibels, and the WER there."""
    as_recorded: Interval | None


@dataclass(frozen=True)
class NoiseChart:
    """WER against the signal-to-noise ratio of one kind of noise."""

    kind: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    found: Robustness | None
    systems: tuple[str, ...]
    """Those that were scored."""
    rows: tuple[tuple[str, tuple[Interval, ...]], ...]
    """Condition, and the WER of each of `systems`."""
    noises: tuple[NoiseChart, ...]
    """Kinds with several ratios."""
    gaps: tuple[ConditionGap, ...]
    changes: tuple[ConditionChange, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """One row a condition, one chart a kind of noise."""
    found = report_input.robustness
    if found is None:
        return Numbers(None, (), (), (), (), ())
    systems = tuple(dict.fromkeys(rate.system for rate in found.rates))
    wers = {(rate.condition, rate.system): rate.wer for rate in found.rates}
    conditions = dict.fromkeys(rate.condition for rate in found.rates)
    rows = tuple((title, tuple(wers[title, name] for name in systems)) for title in conditions)
    noises = tuple(_noises(found.rates, systems, tones_of(report_input)))
    return Numbers(found, systems, rows, noises, found.gaps, found.changes)


def _noises(
    rates: Sequence[ConditionRate], systems: Sequence[str], tones: dict[str, int]
) -> list[NoiseChart]:
    levels: dict[str, set[float]] = {}
    for rate in rates:
        if rate.snr_db is not None:
            levels.setdefault(rate.kind, set()).add(rate.snr_db)
    recorded = {rate.system: rate.wer for rate in rates if rate.kind == "as recorded"}
    found = []
    for kind in (kind for kind, own in levels.items() if len(own) > 1):
        at = {(r.system, r.snr_db): r.wer for r in rates if r.kind == kind}
        lines = tuple(
            Line(
                name,
                tones[name],
                tuple((db, at[name, db]) for db in sorted(levels[kind]) if (name, db) in at),
                recorded.get(name),
            )
            for name in systems
        )
        found.append(NoiseChart(kind, lines))
    return found


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    return {"noises": [(noise, draw(noise)) for noise in numbers.noises]}


def draw(noise: NoiseChart) -> Chart:
    """A line a system, with the intervals of its points."""
    levels = sorted({db for line in noise.lines for db, _ in line.rates})
    beside = levels[-1] + BESIDE_DB
    traces: list[object] = []
    for place, line in enumerate(noise.lines):
        # Side by side, with their middle at the level.
        shift = APART_DB * (place - (len(noise.lines) - 1) / 2)
        said = [f"{db:g} dB" for db, _ in line.rates]
        traces.append(_points(line, [db + shift for db, _ in line.rates],
                              [wer for _, wer in line.rates], said))  # fmt: skip
        if line.as_recorded is not None:
            traces.append(_points(line, [beside + shift], [line.as_recorded], ["as recorded"]))
    label = f"Test WER against the signal-to-noise ratio, {noise.kind}: " + "; ".join(
        f"{line.system} "
        + ", ".join(f"{100 * wer:.1f} % at {db:g} dB" for db, (wer, _, _) in line.rates)
        for line in noise.lines
    )
    has_recorded = any(line.as_recorded is not None for line in noise.lines)
    ticks = [*levels, beside] if has_recorded else levels
    layout = {
        "xaxis": {
            "title": {"text": "signal-to-noise ratio, dB"},
            "tickvals": ticks,
            # The last name only where it has a tick.
            "ticktext": [*(f"{db:g}" for db in levels), "as recorded"][: len(ticks)],
            "zeroline": False,
        },
        "yaxis": {"ticksuffix": " %", "title": {"text": "test WER"}, "rangemode": "tozero"},
    }
    return chart(f"chart-noise-{noise.kind}", label, traces, layout)


def _points(
    line: Line, x: Sequence[float], wers: Sequence[Interval], said: Sequence[str]
) -> go.Scatter:
    means, lows, highs = zip(*wers, strict=True)
    return go.Scatter(
        x=list(x),
        y=[100 * mean for mean in means],
        error_y={
            "array": [100 * (high - mean) for mean, high in zip(means, highs, strict=True)],
            "arrayminus": [100 * (mean - low) for mean, low in zip(means, lows, strict=True)],
            "thickness": 1,
            "width": 3,
        },
        mode="lines+markers",
        line={"color": colour(line.tone), "dash": dash(line.tone), "width": 1.5},
        marker={"color": colour(line.tone), "size": 7},
        text=[
            f"{plain(line.system)}, {where}: {percent(mean)} ({interval(low, high)})"
            for where, (mean, low, high) in zip(said, wers, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )
