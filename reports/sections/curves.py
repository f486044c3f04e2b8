"""Learning curves: one line a seed, their mean and the band they span; the search's trials on call.

A line keeps three horizontal axes (`AXES`); page.js switches between them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from reports.charts import Chart, chart, evenly, log_ticks, plain, short_numbers
from reports.columns import RunColumns, rows_of
from reports.format import plural
from reports.input import ReportInput
from reports.palette import colour, dash, system_names, translucent

TITLE = "Learning curves"

METRICS = (
    ("valid/wer", "Valid WER", True),
    ("valid/cer", "Valid CER", True),
    ("valid/loss", "Valid loss, nats a symbol", False),
    ("train/loss", "Training loss, nats a symbol", False),
    ("train/grad_norm", "Gradient norm", False),
)
"""Name as logged, title, whether it is a rate; in the order of the page."""

PIECES = "units.num_pieces"
"""The config key of what a network outputs; 0: letters."""

AXES = (
    ("epochs", "epoch"),
    ("seconds", "training seconds"),
    ("audio_hours", "hours of audio trained on"),
)
"""What a line can be drawn against: the field of Line, and the axis in words. The first is what the
page begins with."""

MAX_TRIALS, MAX_POINTS = 40, 150
"""A system's trials and a line's points that are drawn at most, evenly chosen from all."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run's curve: one point an epoch."""

    system: str
    tone: int
    label: str
    run: str = ""
    slot: int = 0
    is_trial: bool = False
    diverged: bool = False
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    """Trained for at the end of each epoch, NaN if unknown; so is `audio_hours`."""
    audio_hours: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Mean(Line):
    """The mean of a system's runs at equal epochs, drawn at their mean seconds and hours."""

    low: tuple[float, ...]
    """The least and the greatest of the runs at each epoch."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One metric of all runs."""

    metric: str
    title: str
    is_rate: bool
    """Drawn in percent from zero; anything else on a logarithmic axis if its values allow one."""
    lines: tuple[Line, ...]
    means: tuple[Mean, ...]
    trials: tuple[Line, ...]
    """Of the search, hidden at first; none of a system whose trials are all it has: see `lines`"""

    @property
    def values(self) -> list[float]:
        """All that has to fit on the vertical axis."""
        return [value for line in (*self.lines, *self.trials) for value in line.values]

    @property
    def is_log(self) -> bool:
        """Whether the axis is logarithmic."""
        return not self.is_rate and all(value > 0 for value in self.values)


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    panels: tuple[Panel, ...]
    sources: tuple[tuple[str, str], ...]
    """Each system with curves, and which runs are drawn."""
    was_thinned: bool = False
    """Whether trials or points were left out."""
    units_differ: bool = False
    """Whether some systems output letters and others pieces of words, or other numbers of them."""

    @property
    def axes(self) -> tuple[tuple[str, str], ...]:
        """Those of AXES that some line has values of."""
        lines = [line for panel in self.panels for line in (*panel.lines, *panel.trials)]
        return tuple(
            (field, words)
            for field, words in AXES
            if any(math.isfinite(at) for line in lines for at in getattr(line, field))
        )

    @property
    def has_trials(self) -> bool:
        """Whether there are trials to show or hide."""
        return any(panel.trials for panel in self.panels)


def numbers(report_input: ReportInput) -> Numbers:
    """The curves of each system's confirm runs, its trials apart; where there are none but trials,
    these."""
    with_curves = set(report_input.curves["run"])
    chosen, sources, was_thinned = [], [], False
    for tone, system in enumerate(system_names(report_input)):
        own = report_input.runs
        own = own[(own["system"] == system) & own["run"].isin(with_curves)]
        own = own.sort_values(["kind", "slot", "run"]).assign(tone=tone)
        trials, drawn = own[own["kind"] == "trial"], own[own["kind"] == "confirm"]
        was_thinned |= len(trials) > MAX_TRIALS
        trials = trials.iloc[evenly(len(trials), MAX_TRIALS)]
        noun, aside = "confirm run", trials
        if drawn.empty:
            noun, drawn, aside = "trial", trials, trials[:0]
        if drawn.empty:
            continue
        sources.append((system, plural(len(drawn), noun)))
        chosen += [drawn.assign(aside=False), aside.assign(aside=True)]
    if not chosen:
        return Numbers((), ())
    points = _by_epoch(report_input.curves)
    was_thinned |= any(len(curve) > MAX_POINTS for curve in points.values())
    runs = rows_of(pd.concat(chosen), _Drawn)
    panels = (_panel(*metric, runs, points) for metric in METRICS)
    return Numbers(
        tuple(panel for panel in panels if panel.lines),
        tuple(sources),
        was_thinned,
        units_differ=len({config.get(PIECES, 0) for config in report_input.configs.values()}) > 1,
    )


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    charts = [(panel.title, _chart(panel)) for panel in numbers.panels]
    return {"charts": charts, "max_trials": MAX_TRIALS, "max_points": MAX_POINTS}


Curves = Mapping[tuple[str, str], pd.DataFrame]
"""By metric and run: one row an epoch (1 is the first), its index."""


def _by_epoch(curves: pd.DataFrame) -> Curves:
    """The mean of what was read in an epoch, and what the run had trained for at its end."""
    known = curves[curves["metric"].isin([metric for metric, _, _ in METRICS])]
    known = known[pd.to_numeric(known["value"]).map(math.isfinite)]
    # What was logged after 2.4 epochs belongs to the third.
    keys = [known["metric"], known["run"], known["epoch"].astype(float).map(math.ceil)]
    found = known.groupby(keys).agg({"value": "mean", "seconds": "max", "audio_hours": "max"})
    return {
        key: curve.droplevel([0, 1])  # type: ignore[misc]
        for key, curve in found.groupby(level=[0, 1])
    }


class _Drawn(RunColumns):
    tone: int
    aside: bool


def _panel(metric: str, title: str, is_rate: bool, runs: Sequence[_Drawn], points: Curves) -> Panel:
    lines: list[Line] = []
    trials: list[Line] = []
    for run in runs:
        curve = points.get((metric, run["run"]))
        if curve is not None:
            (trials if run["aside"] else lines).append(_line(run, curve))
    return Panel(metric, title, is_rate, tuple(lines), _means(lines), tuple(trials))


def _line(run: _Drawn, curve: pd.DataFrame) -> Line:
    curve = curve.iloc[evenly(len(curve), MAX_POINTS)]
    return Line(
        run=run["run"],
        slot=run["slot"],
        system=run["system"],
        tone=run["tone"],
        label=f"{run['system']}, {run['kind']} {run['slot']}, seed {run['seed']}",
        is_trial=run["kind"] == "trial",
        diverged=run["state"] == "diverged",
        epochs=tuple(curve.index),
        seconds=tuple(curve["seconds"].astype(float)),
        audio_hours=tuple(curve["audio_hours"].astype(float)),
        values=tuple(curve["value"]),
    )


def _means(lines: Sequence[Line]) -> tuple[Mean, ...]:
    """Of each system with several confirm runs, over the epochs that all of them reached."""
    means = []
    for system in dict.fromkeys(line.system for line in lines):
        own = [
            line for line in lines if line.system == system and not (line.diverged or line.is_trial)
        ]
        if len(own) < 2:
            continue
        tables = [
            pd.DataFrame(
                {"value": line.values, "seconds": line.seconds, "audio_hours": line.audio_hours},
                index=pd.Index(line.epochs),
            )
            for line in own
        ]
        shared = sorted(set.intersection(*(set(line.epochs) for line in own)))
        by_epoch = pd.concat([table.loc[shared] for table in tables]).groupby(level=0)
        mean = by_epoch.mean()
        means.append(
            Mean(
                system=system,
                tone=own[0].tone,
                label=f"{system}, mean of {len(own)}",
                epochs=tuple(shared),
                seconds=tuple(mean["seconds"]),
                audio_hours=tuple(mean["audio_hours"]),
                values=tuple(mean["value"]),
                low=tuple(by_epoch["value"].min()),
                high=tuple(by_epoch["value"].max()),
            )
        )
    return tuple(means)


def _chart(panel: Panel) -> Chart:
    averaged = {mean.system for mean in panel.means}
    traces = [_band(mean, panel) for mean in panel.means]
    for system in dict.fromkeys(line.system for line in panel.trials):
        own = [line for line in panel.trials if line.system == system]
        traces.append(_joined(own, panel))
        traces += _divergences(own, panel)
    traces += [
        _trace(line, panel, faint=line.is_trial or line.system in averaged) for line in panel.lines
    ]
    traces += [_trace(mean, panel, faint=False) for mean in panel.means]
    traces += _divergences(panel.lines, panel)
    layout = {
        "xaxis": {"title": {"text": AXES[0][1]}, "rangemode": "tozero"},
        "yaxis": _vertical_axis(panel),
    }
    name = panel.metric.replace("/", "-")
    label = f"{panel.title}: " + "; ".join(_told(line, panel) for line in panel.lines)
    return chart(f"chart-{name}", label, traces, layout)


def _vertical_axis(panel: Panel) -> dict[str, object]:
    if panel.is_rate:
        return {"ticksuffix": " %", "rangemode": "tozero"}
    if not panel.is_log:
        return {"type": "linear"}
    ticks = log_ticks(min(panel.values), max(panel.values), beyond=2)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _scaled(values: Sequence[float], panel: Panel) -> list[float | None]:
    return short_numbers(100 * value if panel.is_rate else value for value in values)


@dataclass(frozen=True)
class _Places:
    """Where a trace of lines stands on each axis, with a gap between two lines."""

    x: list[float | None]
    """On the first of AXES, which is drawn."""
    meta: dict[str, list[float | None]]
    """On the others, for page.js."""


def _places(*lines: Line) -> _Places:
    #     lines     (1, 2, 3) and (1, 2)
    #     trace     1 2 3 None 1 2          plotly draws no line to or from None
    places: dict[str, list[float | None]] = {}
    for field, _ in AXES:
        at: list[float | None] = []
        for line in lines:
            gap = [None] if at else []
            at += [*gap, *short_numbers(getattr(line, field))]
        places[field] = at
    return _Places(places.pop(AXES[0][0]), places)


def _trace(line: Line, panel: Panel, *, faint: bool) -> go.Scatter:
    places, unit = _places(line), " %" if panel.is_rate else ""
    return go.Scatter(
        x=places.x,
        meta=places.meta,
        y=_scaled(line.values, panel),
        mode="lines" if len(line.epochs) > 1 else "markers",
        opacity=0.4 if faint else 1.0,
        line={"color": colour(line.tone), "dash": dash(line.tone), "width": 1.2 if faint else 2.2},
        hovertemplate=f"{plain(line.label)}<br>%{{x}}: %{{y:.4~g}}{unit}<extra></extra>",
    )


def _band(mean: Mean, panel: Panel) -> go.Scatter:
    """From the least to the greatest of the runs: along the one and back along the other."""
    places = _places(mean)
    return go.Scatter(
        x=places.x + places.x[::-1],
        meta={field: at + at[::-1] for field, at in places.meta.items()},
        y=_scaled(mean.low, panel) + _scaled(mean.high, panel)[::-1],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=translucent(mean.tone),
        hoverinfo="skip",
    )


def _joined(trials: Sequence[Line], panel: Panel) -> go.Scatter:
    """A system's trials as one trace, which costs the browser a fraction of many."""
    values: list[float | None] = []
    slots: list[int | None] = []
    for line in trials:
        gap = [None] if values else []
        values += [*gap, *_scaled(line.values, panel)]
        slots += [*gap, *[line.slot] * len(line.values)]
    places = _places(*trials)
    unit = " %" if panel.is_rate else ""
    return go.Scatter(
        x=places.x,
        meta={**places.meta, "is_trials": True},
        y=values,
        customdata=slots,
        mode="lines",
        visible=False,
        opacity=0.5,
        line={"color": colour(trials[0].tone), "dash": dash(trials[0].tone), "width": 0.8},
        hovertemplate=f"{plain(trials[0].system)}, trial %{{customdata}}<br>%{{x}}: "
        f"%{{y:.4~g}}{unit}<extra></extra>",
    )


def _divergences(lines: Sequence[Line], panel: Panel) -> list[go.Scatter]:
    """A cross where each diverged run ended; no trace if none did."""
    ends = [line for line in lines if line.diverged]
    if not ends:
        return []
    aside = ends[0] in panel.trials
    return [
        go.Scatter(
            x=[line.epochs[-1] for line in ends],
            meta={
                **{
                    field: short_numbers(getattr(line, field)[-1] for line in ends)
                    for field, _ in AXES[1:]
                },
                "is_trials": aside,
            },
            y=_scaled([line.values[-1] for line in ends], panel),
            mode="markers",
            visible=not aside,
            marker={"symbol": "x", "size": 9, "color": [colour(line.tone) for line in ends]},
            text=[f"{plain(line.label)}: diverged" for line in ends],
            hovertemplate="%{text}<extra></extra>",
        )
    ]


def _told(line: Line, panel: Panel) -> str:
    last = line.values[-1]
    ends = f"{100 * last:.4g} %" if panel.is_rate else f"{last:.4g}"
    return f"{line.label} ends at {ends}" + (", diverged" if line.diverged else "")
