"""WER against budget: the best so far against trials and against training time."""

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts import Chart, chart, plain, short_numbers, whole_ticks
from reports.format import percent
from reports.input import ReportInput
from reports.palette import colour, dash, system_names

TITLE = "WER against budget"


@dataclass(frozen=True)
class Curve:
    """The search of one system, a point a trial in the order they ended."""

    system: str
    tone: int
    num_trials: tuple[int, ...]
    train_seconds: tuple[float, ...]
    """Spent by all trials so far."""
    best: tuple[float, ...]
    """Lowest valid WER so far; NaN before the first trial that trained as far as its budget
    goes."""
    num_cut: int
    """Trials that the cap on training seconds ended."""
    expected: tuple[float, ...]
    """Of 1, 2, … independent trials; empty where fewer than two ended."""

    @property
    def last_gain(self) -> int:
        """The trial that found the best setting, 0 without one."""
        known = [best for best in self.best if not math.isnan(best)]
        return self.num_trials[self.best.index(known[-1])] if known else 0


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    curves: tuple[Curve, ...]

    @property
    def unexpected(self) -> tuple[str, ...]:
        """The systems without an expected best."""
        return tuple(curve.system for curve in self.curves if not curve.expected)


def numbers(report_input: ReportInput) -> Numbers:
    """The curves of each system whose search has an ended trial."""
    found, expected = report_input.budget_curves, report_input.expected_best
    curves = []
    for tone, system in enumerate(system_names(report_input)):
        own = found[found["system"] == system].sort_values("num_trials")
        if own.empty:
            continue
        runs = report_input.runs
        cut = (runs["system"] == system) & (runs["kind"] == "trial") & (runs["state"] == "cut")
        independent = expected[expected["system"] == system].sort_values("num_trials")
        curves.append(
            Curve(
                system=system,
                tone=tone,
                num_trials=tuple(own["num_trials"].astype(int)),
                train_seconds=tuple(own["train_seconds"].astype(float)),
                best=tuple(own["best_valid_wer"].astype(float)),
                num_cut=int(cut.sum()),
                # One trial alone has no distribution to expect anything from.
                expected=tuple(independent["valid_wer"].astype(float))
                if len(independent) > 1
                else (),
            )
        )
    return Numbers(tuple(curves))


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    charts = []
    if any(curve.last_gain for curve in numbers.curves):
        charts = [
            _chart(numbers, "num_trials", "trials"),
            _chart(numbers, "train_seconds", "training seconds of the search"),
        ]
    return {"charts": charts}


def _chart(numbers: Numbers, field: str, words: str) -> Chart:
    traces = []
    for curve in numbers.curves:
        line = {"color": colour(curve.tone), "dash": dash(curve.tone), "shape": "hv"}
        traces.append(
            go.Scatter(
                x=list(getattr(curve, field)),
                y=short_numbers(100 * wer for wer in curve.best),
                mode="lines+markers",
                line=line,
                marker={"size": 5},
                hovertemplate=f"{plain(curve.system)}<br>%{{x:.4~g}} {words}: %{{y:.4~g}} %"
                "<extra></extra>",
            )
        )
        if field == "num_trials" and curve.expected:
            traces.append(_expected(curve))
    counts = whole_ticks(max(curve.num_trials[-1] for curve in numbers.curves))
    ticks = counts if field == "num_trials" else {}
    layout: dict[str, object] = {
        "xaxis": {"title": {"text": words}, "rangemode": "tozero", **ticks},
        "yaxis": {"ticksuffix": " %", "title": {"text": "best valid WER"}},
    }
    label = f"Best valid WER against {words}: " + "; ".join(
        f"{curve.system} ends at {percent(curve.best[-1])}" for curve in numbers.curves
    )
    return chart(f"chart-budget-{field.replace('_', '-')}", label, traces, layout)


def _expected(curve: Curve) -> go.Scatter:
    return go.Scatter(
        x=list(range(1, 1 + len(curve.expected))),
        y=short_numbers(100 * wer for wer in curve.expected),
        mode="markers",
        marker={"color": colour(curve.tone), "symbol": "diamond-open", "size": 9},
        hovertemplate=f"{plain(curve.system)}<br>expected best of %{{x}} random trials: "
        "%{y:.4~g} %<extra></extra>",
    )
