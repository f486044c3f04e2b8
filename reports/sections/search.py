"""The search: every trial in order, the settings that did well, and ranges that were too narrow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from reports.charts import Chart, chart, evenly, log_ticks, plain, whole_ticks
from reports.columns import RunColumns, rows_of
from reports.format import is_missing, percent, setting, text
from reports.input import ReportInput, SearchRange
from reports.palette import STATES, TRAINED, colour, dash, system_names

TITLE = "Search"

WORST_COLOUR = "#A6A6A6"


@dataclass(frozen=True)
class Axis:
    """One searched key: a range, maybe logarithmic, or choices."""

    key: str
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    choices: tuple[str, ...] = ()

    def at(self, value: object) -> float:
        """Where `value` stands on the axis as it is drawn; NaN if it has no place there."""
        if self.choices:
            return self.choices.index(str(value)) if str(value) in self.choices else math.nan
        if not isinstance(value, int | float) or (self.is_log and value <= 0):
            return math.nan
        return math.log10(value) if self.is_log else float(value)


@dataclass(frozen=True)
class SystemSearch:
    """The trials of one system."""

    system: str
    tone: int
    trials: tuple[RunColumns, ...]
    axes: tuple[Axis, ...]
    best: RunColumns | None
    """Whose setting the confirm runs have."""
    best_so_far: tuple[tuple[int, float], ...]
    """(slot, lowest valid WER of the finished trials up to it)."""
    alarms: tuple[str, ...]
    """Ranges that were too narrow, a sentence each."""
    importances: tuple[tuple[str, float], ...] = ()
    """Importance of each key by PED-ANOVA (Watanabe et al., IJCAI 2023), the largest first; empty
    if too few trials finished."""

    @property
    def placed(self) -> list[RunColumns]:
        """Trials with a WER, from the best to the worst."""
        known = [trial for trial in self.trials if not is_missing(trial["valid_wer"])]
        return sorted(known, key=lambda trial: trial["valid_wer"])

    @property
    def summary(self) -> str:
        """Counts of states in words."""
        counts = ((state, sum(t["state"] == state for t in self.trials)) for state in STATES)
        return ", ".join(f"{number} {state}" for state, number in counts if number)


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    searches: tuple[SystemSearch, ...]
    rungs: str
    """How halving goes on with fewer trials, a clause; "" without it."""


def numbers(report_input: ReportInput) -> Numbers:
    """The searches of a study."""
    return Numbers(_searches(report_input), report_input.budget.rungs)


def _searches(report_input: ReportInput) -> tuple[SystemSearch, ...]:
    """The search of each system that has trials."""
    runs = report_input.runs[report_input.runs["kind"] == "trial"]
    found = []
    for tone, system in enumerate(system_names(report_input)):
        own = runs[runs["system"] == system].sort_values(["slot", "attempt"])
        own = own.assign(
            params=own["params"].map(lambda given: given if isinstance(given, Mapping) else {}),
            message=own["message"].map(text),
        )
        trials = tuple(rows_of(own, RunColumns))
        if not trials:
            continue
        axes = _axes(trials, report_input.spaces.get(system, {}))
        finished = [t for t in trials if t["state"] in TRAINED and not is_missing(t["valid_wer"])]
        winner = report_input.winners.get(system)
        best = next((trial for trial in trials if trial["slot"] == winner), None)
        lowest = np.fmin.accumulate([t["valid_wer"] for t in finished])
        alarms = tuple(f"{e[0].upper()}{e[1:]}." for e in report_input.edges.get(system, ()))
        found.append(
            SystemSearch(
                system,
                tone,
                trials,
                axes,
                best,
                tuple(zip((t["slot"] for t in finished), lowest, strict=True)),
                alarms,
                _importances(system, report_input),
            )
        )
    return tuple(found)


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    searches = numbers.searches
    return {
        "history": _history(searches) if searches else None,
        "parallels": {s.system: _parallel(s) for s in searches if len(s.placed) > 1 and s.axes},
        "slices": {s.system: _slices(s) for s in searches if len(s.placed) > 1 and s.axes},
        "num_unplaced": sum(len(s.trials) - len(s.placed) for s in searches),
    }


def _importances(system: str, report_input: ReportInput) -> tuple[tuple[str, float], ...]:
    table = report_input.importances
    own = table[table["system"] == system].sort_values(
        ["importance", "key"], ascending=[False, True]
    )
    return tuple(zip(own["key"].astype(str), own["importance"].astype(float), strict=True))


def _axes(trials: Sequence[RunColumns], space: Mapping[str, SearchRange]) -> tuple[Axis, ...]:
    """The searched keys with their ranges; where none is written down, what the trials span."""
    keys = sorted({*space, *(key for trial in trials for key in trial["params"])})
    return tuple(_axis(key, space.get(key), [t["params"].get(key) for t in trials]) for key in keys)


def _axis(key: str, searched: SearchRange | None, seen: Sequence[object]) -> Axis:
    if searched and searched.choices:
        return Axis(key, choices=tuple(map(str, searched.choices)))
    if searched:
        return Axis(key, searched.low, searched.high, searched.log)
    values = [value for value in seen if not is_missing(value)]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        return Axis(key, min(numbers), max(numbers))
    return Axis(key, choices=tuple(sorted({str(value) for value in values})))


def _history(searches: Sequence[SystemSearch]) -> Chart:
    """WER of every trial by slot; those without one are drawn at the upper edge."""
    known = [100 * trial["valid_wer"] for search in searches for trial in search.placed]
    ceiling = 1.08 * max(known, default=100.0)
    traces = []
    for search in searches:
        traces.append(_best_line(search))
        traces.append(
            go.Scatter(
                x=[trial["slot"] for trial in search.trials],
                y=[
                    ceiling if is_missing(trial["valid_wer"]) else 100 * trial["valid_wer"]
                    for trial in search.trials
                ],
                mode="markers",
                marker={
                    "symbol": [STATES.get(t["state"], ("star",))[0] for t in search.trials],
                    "size": 9,
                    "color": colour(search.tone),
                },
                text=[_hover(search.system, trial) for trial in search.trials],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    most = max(len(search.trials) for search in searches)
    layout = {
        "xaxis": {"title": {"text": "trial"}, **whole_ticks(most)},
        "yaxis": {"title": {"text": "best valid WER"}, "ticksuffix": " %", "rangemode": "tozero"},
    }
    told = "; ".join(_told(search) for search in searches)
    return chart("chart-history", f"Valid WER of every trial. {told}", traces, layout, 340)


def _best_line(search: SystemSearch) -> go.Scatter:
    return go.Scatter(
        x=[slot for slot, _ in search.best_so_far],
        y=[100 * wer for _, wer in search.best_so_far],
        mode="lines",
        line={
            "shape": "hv",
            "width": 1.6,
            "color": colour(search.tone),
            "dash": dash(search.tone),
        },
        hoverinfo="skip",
    )


def _hover(system: str, trial: RunColumns) -> str:
    lines = [
        f"{system}, trial {trial['slot']}: {trial['state']}, WER {percent(trial['valid_wer'])}"
    ]
    lines += [f"{key} = {setting(value)}" for key, value in sorted(trial["params"].items())]
    return "<br>".join(plain(line) for line in lines)


def _told(search: SystemSearch) -> str:
    if search.best is None:
        return f"{search.system}: no trial has found a setting"
    return (
        f"{search.system}: best {percent(search.best['valid_wer'])} in trial {search.best['slot']}"
    )


def _parallel(search: SystemSearch) -> Chart:
    """Parallel coordinates of the trials with a WER; the better the rank, the fuller the colour."""
    trials = search.placed[::-1]  # The best is drawn last, on top.
    dimensions = [_dimension(axis, trials) for axis in search.axes]
    wers = [100 * trial["valid_wer"] for trial in trials]
    dimensions.append({"label": "valid WER, %", "values": wers, "tickformat": ".3~g"})
    trace = go.Parcoords(
        dimensions=dimensions,
        line={
            "color": list(range(len(trials))),
            "colorscale": [[0, WORST_COLOUR], [1, colour(search.tone)]],
        },
        labelfont={"size": 12},
        tickfont={"size": 11},
    )
    name = f"Settings of the trials of {search.system} against their valid WER"
    # The upper margin keeps the names of the axes clear of plotly's buttons.
    layout = {"margin": {"l": 64, "r": 48, "t": 76, "b": 20}}
    return chart(f"chart-parallel-{search.tone}", name, [trace], layout, 348)


def _slices(search: SystemSearch) -> Chart:
    """One small drawing a searched key: its value against the trial's WER."""
    # Plotly calls the axes x, x2, x3, …; all share one y axis. Of the width of each drawing 14 % is
    # the gap to the next.
    share = 1 / len(search.axes)
    traces = []
    layout: dict[str, object] = {"yaxis": {"ticksuffix": " %", "title": {"text": "valid WER"}}}
    for place, axis in enumerate(search.axes):
        drawn = _drawn(axis, search.placed)
        number = str(place + 1) if place else ""
        traces.append(
            go.Scatter(
                x=drawn.values,
                y=[100 * trial["valid_wer"] for trial in search.placed],
                xaxis=f"x{number}",
                mode="markers",
                marker={
                    "color": colour(search.tone),
                    "symbol": [STATES.get(t["state"], ("circle", ""))[0] for t in search.placed],
                    "size": 7,
                },
                text=[f"trial {trial['slot']}, {trial['state']}" for trial in search.placed],
                hovertemplate="%{text}<br>%{y:.4~g} %<extra></extra>",
            )
        )
        shown: dict[str, object] = {
            "domain": [place * share, (place + 0.86) * share],
            "title": {"text": drawn.label},
        }
        if drawn.ticks:
            # Three names of values have room side by side; choices are all named.
            kept = evenly(len(drawn.ticks), len(drawn.ticks) if axis.choices else 3)
            shown |= _named(tuple(drawn.ticks[tick] for tick in kept))
        if drawn.range is not None:
            # A value at an end of its range, which is what the alarm is about, is seen whole.
            low, high = drawn.range
            margin = 0.06 * (high - low)
            shown["range"] = [low - margin, high + margin]
        layout[f"xaxis{number}"] = shown
    name = f"Each searched setting of {search.system} against valid WER"
    return chart(f"chart-slices-{search.tone}", name, traces, layout, 240)


@dataclass(frozen=True)
class _Drawn:
    """An axis with the trials' places on it."""

    label: str
    values: list[float]
    range: tuple[float, float] | None
    ticks: tuple[tuple[float, str], ...]
    """Places with names; empty where plotly's numbers will do."""


def _drawn(axis: Axis, trials: Sequence[RunColumns]) -> _Drawn:
    values = [axis.at(trial["params"].get(axis.key)) for trial in trials]
    label = plain(axis.key.rpartition(".")[2])
    if axis.choices:
        names = tuple((float(place), plain(choice)) for place, choice in enumerate(axis.choices))
        return _Drawn(label, values, (-0.5, len(names) - 0.5), names)
    span = (axis.at(axis.low), axis.at(axis.high)) if axis.low < axis.high else None
    ticks = log_ticks(axis.low, axis.high) if axis.is_log else []
    return _Drawn(label, values, span, tuple((math.log10(t), f"{t:g}") for t in ticks))


def _named(ticks: Sequence[tuple[float, str]]) -> dict[str, object]:
    """Plotly's words for `ticks`."""
    return {"tickvals": [at for at, _ in ticks], "ticktext": [name for _, name in ticks]}


def _dimension(axis: Axis, trials: Sequence[RunColumns]) -> dict[str, object]:
    """An axis of parallel coordinates."""
    drawn = _drawn(axis, trials)
    shown: dict[str, object] = {"label": drawn.label, "values": drawn.values}
    if drawn.ticks:
        shown |= _named(drawn.ticks)
    if drawn.range is not None:
        shown["range"] = list(drawn.range)
    return shown
