"""What the plotly figures share. page.js adds the theme: it knows whether the reader's is dark."""

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2.utils import htmlsafe_json_dumps

HEIGHT_PX = 270


@dataclass(frozen=True)
class Chart:
    """A figure in the page."""

    id: str
    label: str
    """What it shows, for those who cannot see it."""
    json: str
    """`{"data": …, "layout": …}`, safe between script tags."""
    height_px: int


def chart(
    id: str, label: str, traces: Sequence[Any], layout: dict[str, Any], height_px: int = HEIGHT_PX
) -> Chart:
    """A chart of plotly `traces`; `layout` adds to what all charts share."""
    shared = {
        "template": "none",
        "showlegend": False,
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 52, "r": 12, "t": 12, "b": 42},
    }
    figure = go.Figure(data=list(traces), layout=shared | layout)
    # plotly's own encoder first: it turns NaN, which JSON has not, into null.
    plain = json.loads(figure.to_json(engine="json"))
    return Chart(id, label, str(htmlsafe_json_dumps(plain)), height_px)


def plain(value: str) -> str:
    """`value` for a figure, whose labels understand some tags: <b>, <a>, …"""
    return html.escape(value, quote=False)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`; plotly's own choice reads badly."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{m}e{power}") for power in powers for m in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def evenly(number: int, limit: int) -> list[int]:
    """At most `limit` of the places 0 … `number` - 1, evenly apart, the first and the last among
    them."""
    if number <= limit:
        return list(range(number))
    return [round(place * (number - 1) / (limit - 1)) for place in range(limit)]


def short_numbers(values: Iterable[float]) -> list[float | None]:
    """`values` to five significant figures, more than a chart can show; None, a gap, for NaN."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
