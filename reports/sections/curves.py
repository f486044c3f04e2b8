"""Learning curves: one line a seed, and their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from reports.charts import Chart, chart, log_ticks, plain
from reports.format import plural
from reports.input import ReportInput
from reports.markup import render
from reports.palette import colour, dash, variant_names

TITLE = "Learning curves"

METRICS = (
    ("valid/wer", "Valid WER", True),
    ("valid/cer", "Valid CER", True),
    ("valid/loss", "Valid loss", False),
    ("train/loss", "Training loss", False),
    ("train/grad_norm", "Gradient norm", False),
)
"""Name as logged, title, whether it is a rate; in the order of the page."""


@dataclass(frozen=True)
class Line:
    """One run's curve, or the mean of a variant's runs: one point an epoch."""

    run: str
    """Empty for the mean."""
    variant: str
    tone: int
    label: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    diverged: bool = False


@dataclass(frozen=True)
class Panel:
    """One metric of all runs."""

    metric: str
    title: str
    is_rate: bool
    """Drawn in percent from zero; anything else on a logarithmic axis if its values allow one."""
    lines: tuple[Line, ...]
    means: tuple[Line, ...]

    @property
    def is_log(self) -> bool:
        """Whether the axis is logarithmic."""
        return not self.is_rate and all(v > 0 for line in self.lines for v in line.values)


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    panels: tuple[Panel, ...]
    sources: tuple[tuple[str, int, str], ...]
    """Each variant with curves: its name, its tone, and which runs are drawn."""


def numbers(report_input: ReportInput) -> Numbers:
    """The curves of each variant's confirm runs; of its trials, if it has no confirm run yet."""
    with_curves = set(report_input.curves["run"])
    chosen, sources = [], []
    for tone, variant in enumerate(variant_names(report_input)):
        own = report_input.runs
        own = own[(own["variant"] == variant) & own["run"].isin(with_curves)]
        confirms = own[own["kind"] == "confirm"]
        drawn = own if confirms.empty else confirms
        if drawn.empty:
            continue
        noun = "trial" if confirms.empty else "confirm run"
        sources.append((variant, tone, plural(len(drawn), noun)))
        chosen.append(drawn.assign(tone=tone).sort_values(["kind", "slot", "run"]))
    if not chosen:
        return Numbers((), ())
    points = _by_epoch(report_input.curves)
    runs = pd.concat(chosen)
    panels = (_panel(metric, title, is_rate, runs, points) for metric, title, is_rate in METRICS)
    return Numbers(tuple(panel for panel in panels if panel.lines), tuple(sources))


def html(numbers: Numbers) -> str:
    """The section as markup."""
    charts = [(panel.title, _chart(panel)) for panel in numbers.panels]
    return render("sections/curves.html", numbers=numbers, charts=charts)


def _by_epoch(curves: pd.DataFrame) -> "pd.Series[Any]":
    """One value a metric, run and epoch (1 is the first): the mean, if several were read in it."""
    known = curves[pd.to_numeric(curves["value"]).map(math.isfinite)]
    whole = known["epoch"].astype(float).map(math.ceil)
    return known["value"].groupby([known["metric"], known["run"], whole]).mean()


def _panel(
    metric: str, title: str, is_rate: bool, runs: pd.DataFrame, points: "pd.Series[Any]"
) -> Panel:
    of_metric = points[points.index.get_level_values(0) == metric].droplevel(0)
    logged = set(of_metric.index.get_level_values(0))
    lines = []
    for run in runs.to_dict("records"):
        if run["run"] not in logged:
            continue
        curve = of_metric.xs(run["run"])
        lines.append(
            Line(
                run=run["run"],
                variant=run["variant"],
                tone=run["tone"],
                label=f"{run['variant']}, {run['kind']} {run['slot']}, seed {run['seed']}",
                epochs=tuple(curve.index),
                values=tuple(curve),
                diverged=run["state"] == "diverged",
            )
        )
    return Panel(metric, title, is_rate, tuple(lines), _means(lines))


def _means(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The mean of each variant with several runs, over the epochs that all its runs reached."""
    means = []
    for variant in dict.fromkeys(line.variant for line in lines):
        own = [line for line in lines if line.variant == variant and not line.diverged]
        if len(own) < 2:
            continue
        curves = [dict(zip(line.epochs, line.values, strict=True)) for line in own]
        shared = sorted(set.intersection(*(set(curve) for curve in curves)))
        values = tuple(sum(curve[e] for curve in curves) / len(curves) for e in shared)
        label = f"{variant}, mean of {len(own)}"
        means.append(Line("", variant, own[0].tone, label, tuple(shared), values))
    return tuple(means)


def _chart(panel: Panel) -> Chart:
    averaged = {line.variant for line in panel.means}
    traces = [_trace(line, panel, faint=line.variant in averaged) for line in panel.lines]
    traces += [_trace(line, panel, faint=False) for line in panel.means]
    ends = [line for line in panel.lines if line.diverged]
    if ends:
        traces.append(_divergences(ends, panel))
    layout = {
        "xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero"},
        "yaxis": _vertical_axis(panel),
    }
    name = panel.metric.replace("/", "-")
    label = f"{panel.title} by epoch: " + "; ".join(_told(line, panel) for line in panel.lines)
    return chart(f"chart-{name}", label, traces, layout)


def _vertical_axis(panel: Panel) -> dict[str, Any]:
    if panel.is_rate:
        return {"ticksuffix": " %", "rangemode": "tozero"}
    if not panel.is_log:
        return {"type": "linear"}
    values = [value for line in panel.lines for value in line.values]
    ticks = log_ticks(min(values) / 2, max(values) * 2)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _scaled(line: Line, panel: Panel) -> list[float]:
    return [100 * value if panel.is_rate else value for value in line.values]


def _trace(line: Line, panel: Panel, *, faint: bool) -> go.Scatter:
    unit = " %" if panel.is_rate else ""
    return go.Scatter(
        x=list(line.epochs),
        y=_scaled(line, panel),
        mode="lines" if len(line.epochs) > 1 else "markers",
        opacity=0.4 if faint else 1.0,
        line={"color": colour(line.tone), "dash": dash(line.tone), "width": 1.2 if faint else 2.2},
        hovertemplate=f"{plain(line.label)}<br>epoch %{{x}}: %{{y:.4~g}}{unit}<extra></extra>",
    )


def _divergences(lines: Sequence[Line], panel: Panel) -> go.Scatter:
    """A cross where each diverged run ended."""
    return go.Scatter(
        x=[line.epochs[-1] for line in lines],
        y=[_scaled(line, panel)[-1] for line in lines],
        mode="markers",
        marker={"symbol": "x", "size": 9, "color": [colour(line.tone) for line in lines]},
        text=[f"{plain(line.label)}: diverged" for line in lines],
        hovertemplate="%{text}<extra></extra>",
    )


def _told(line: Line, panel: Panel) -> str:
    last = f"{_scaled(line, panel)[-1]:.4g}" + (" %" if panel.is_rate else "")
    return f"{line.label} ends at {last}" + (", diverged" if line.diverged else "")
