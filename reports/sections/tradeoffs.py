"""Trade-offs: error rate against size, arithmetic, training time and speed of recognition."""

from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts import Chart, chart, plain
from reports.columns import TradeoffColumns, rows_of
from reports.input import ReportInput
from reports.palette import colour, tones_of

TITLE = "Trade-offs"

COSTS = {
    "num_parameters": "parameters",
    "macs_per_second_of_audio": "multiply-adds per second of audio",
    "train_seconds": "training seconds of a confirm run",
    "real_time_factor": "real-time factor of greedy recognition",
}
"""Column of the input: name on the page."""
IN_SECONDS = ("train_seconds", "real_time_factor")
"""Costs that depend on what computed, and on how many devices."""


@dataclass(frozen=True)
class Point:
    """One system: cost and WER with its interval."""

    system: str
    tone: int
    cost: float
    wer: float
    low: float
    high: float
    is_pareto_optimal: bool


@dataclass(frozen=True)
class Tradeoff:
    """WER against one cost."""

    cost: str
    words: str
    points: tuple[Point, ...]
    hypervolume: float
    """Share of the rectangle from zero to the reference point that the Pareto set dominates."""
    reference_cost: float
    reference_wer: float

    @property
    def pareto_optimal(self) -> tuple[str, ...]:
        """Names of the Pareto-optimal systems, by increasing cost."""
        ordered = sorted(self.points, key=lambda point: (point.cost, point.system))
        return tuple(point.system for point in ordered if point.is_pareto_optimal)


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    tradeoffs: tuple[Tradeoff, ...]
    differ: tuple[str, ...] = ()
    """Why costs in seconds are not compared."""


def numbers(report_input: ReportInput) -> Numbers:
    """Each cost that at least two systems have, and that is comparable."""
    found = (
        tradeoff(report_input, cost, words)
        for cost, words in COSTS.items()
        if not (report_input.costs_differ and cost in IN_SECONDS)
    )
    return Numbers(tuple(filter(None, found)), report_input.costs_differ)


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    charts = [draw(tradeoff) for tradeoff in numbers.tradeoffs]
    return {"pairs": list(zip(numbers.tradeoffs, charts, strict=True))}


class _Drawn(TradeoffColumns):
    wer_mean: float
    wer_low: float
    wer_high: float


def tradeoff(report_input: ReportInput, cost: str, words: str) -> Tradeoff | None:
    """WER against one `cost`, in `words`; None with fewer than two systems that have both."""
    tones, table = tones_of(report_input), report_input.tradeoffs
    wers = report_input.systems[["system", "wer_mean", "wer_low", "wer_high"]]
    rows = rows_of(table[table["cost"] == cost].merge(wers, on="system"), _Drawn)
    if len(rows) < 2:
        return None
    return Tradeoff(
        cost=cost,
        words=words,
        points=tuple(
            Point(
                system=row["system"],
                tone=tones[row["system"]],
                cost=row["value"],
                wer=row["wer_mean"],
                low=row["wer_low"],
                high=row["wer_high"],
                is_pareto_optimal=bool(row["pareto_optimal"]),
            )
            for row in rows
        ),
        hypervolume=rows[0]["hypervolume"],
        reference_cost=rows[0]["reference_cost"],
        reference_wer=rows[0]["reference_wer"],
    )


def draw(tradeoff: Tradeoff) -> Chart:
    """WER against the cost, with the Pareto set."""
    front = sorted(
        (p for p in tradeoff.points if p.is_pareto_optimal), key=lambda point: point.cost
    )
    traces: list[object] = [
        go.Scatter(
            x=[point.cost for point in front],
            y=[100 * point.wer for point in front],
            mode="lines",
            line={"shape": "hv", "width": 1, "dash": "dot", "color": "#8C8C8C"},
            hoverinfo="skip",
        )
    ]
    traces += [_marker(point, tradeoff.words) for point in tradeoff.points]
    label = f"WER against {tradeoff.words}: " + "; ".join(
        f"{p.system} {100 * p.wer:.1f} % at {p.cost:.4g}" for p in tradeoff.points
    )
    layout = {
        "xaxis": {"title": {"text": tradeoff.words}, "rangemode": "tozero"},
        "yaxis": {"ticksuffix": " %", "title": {"text": "test WER"}},
    }
    return chart(f"chart-tradeoff-{tradeoff.cost.replace('_', '-')}", label, traces, layout)


def _marker(point: Point, words: str) -> go.Scatter:
    return go.Scatter(
        x=[point.cost],
        y=[100 * point.wer],
        error_y={
            "array": [100 * (point.high - point.wer)],
            "arrayminus": [100 * (point.wer - point.low)],
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        marker={
            "color": colour(point.tone),
            "symbol": "diamond" if point.is_pareto_optimal else "circle",
            "size": 11 if point.is_pareto_optimal else 8,
        },
        hovertemplate=f"{plain(point.system)}<br>%{{y:.4~g}} % at %{{x:.4~g}} {words}"
        "<extra></extra>",
    )
