"""Layout shared by the plotly figures. page.js adds the theme, light or dark."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from jinja2.utils import htmlsafe_json_dumps

HEIGHT_PX = 270


@dataclass(frozen=True)
class Chart:
    """A figure in the page."""

    id: str
    label: str
    """Text alternative for screen readers."""
    json: str
    """`{"data": …, "layout": …}`, safe between script tags."""
    height_px: int


def chart(
    id: str,
    label: str,
    traces: Sequence[object],
    layout: Mapping[str, object],
    height_px: int = HEIGHT_PX,
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
    figure = go.Figure(data=list(traces), layout={**shared, **layout})
    # plotly's own encoder first: it turns NaN, which JSON has not, into null.
    plain = json.loads(figure.to_json(engine="json"))
    return Chart(id, label, str(htmlsafe_json_dumps(plain)), height_px)


def plain(value: str) -> str:
    """`value` for a figure, whose labels understand some tags: <b>, <a>, …"""
    return html.escape(value, quote=False)


LOG_STEPS: tuple[Sequence[int], ...] = (
    (10, 20, 50), range(10, 100, 10), range(10, 100, 5), range(10, 100),
)  # fmt: skip
"""Where a logarithmic axis has its ticks in every power of ten, in tenths: the rarest first."""


def log_ticks(low: float, high: float, beyond: float = 1.0) -> list[float]:
    """Round ticks, if possible three or more, from `low` to `high`, and on to `beyond` times as
    far; plotly's own choice reads badly."""
    first, last = low / beyond, high * beyond
    # Steps are in tenths, so that 10 is 1: of 0.3 to 40 the first of LOG_STEPS gives enough,
    #
    #     0.1  0.2  0.5  1  2  5  10  20  50  100
    #             [  .   .  .  .   .   . ]           six of them lie inside
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    found: list[float] = []
    for steps in LOG_STEPS:
        found = [float(f"{step}e{power - 1}") for power in powers for step in steps]
        if sum(low <= tick <= high for tick in found) >= 3:
            break
    return [tick for tick in found if first <= tick <= last]


def whole_ticks(most: int) -> dict[str, int]:
    """Ticks of an axis of counts: at whole numbers only, ten or so of them up to `most`; plotly's
    own choice writes "1 1 2 2" under four."""
    return {"tick0": 0, "dtick": max(1, -(-most // 10))}


def evenly(number: int, limit: int) -> list[int]:
    """At most `limit` of the places 0 … `number` - 1, evenly apart, the first and the last among
    them."""
    if number <= limit:
        return list(range(number))
    return [round(place * (number - 1) / (limit - 1)) for place in range(limit)]


def short_numbers(values: Iterable[float]) -> list[float | None]:
    """`values` to five significant figures, more than a chart can show; None, a gap, for NaN."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
