"""Pictures of a study for MLflow, which shows PNG files among the artifacts of a run.

Imports matplotlib (MLflow requires it) at once.
"""

import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from bench.runs.reader import OBJECTIVE, Tables
from bench.runs.state import TRAINED

GREY, DARK = "0.55", "0.2"
STYLES: dict[str, dict[str, object]] = {
    "confirm": {"linewidth": 1.4, "zorder": 3},
    "trial": {"color": GREY, "linewidth": 1.0, "linestyle": "--"},
}
SIZE_INCHES, DOTS_PER_INCH = (9.0, 3.8), 110


def plots(
    system: str, tables: Tables, systems: pd.DataFrame, colors: Mapping[str, str]
) -> dict[str, bytes]:
    """PNG files by name: learning curves and search of `system`, and the WER of all `systems`.

    `systems` has the columns ``system, wer_mean, wer_low, wer_high``; `colors` are by system.
    Pictures without data yet are omitted.
    """
    runs, own = tables.runs[tables.runs["system"] == system], colors[system]
    drawn: dict[str, Callable[[Figure], bool]] = {
        "learning_curves.png": lambda figure: _learning_curves(figure, runs, tables.curves, own),
        "search.png": lambda figure: _search(figure, runs, own),
        "test_wer.png": lambda figure: _test_wer(figure, systems, colors),
    }
    made = {}
    for name, draw in drawn.items():
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        if draw(figure):
            made[name] = _png(figure)
    return made


def _learning_curves(figure: Figure, runs: pd.DataFrame, curves: pd.DataFrame, color: str) -> bool:
    styles = {kind: {"color": color} | style for kind, style in STYLES.items()}
    axes = figure.subplots(1, 2)
    for axis, metric, label in zip(
        axes,
        ("train/loss", OBJECTIVE),
        ("training loss, nats a symbol", "valid WER, %"),
        strict=True,
    ):
        for kind, points in _lines(runs, curves, metric):
            scale = 100 if metric == OBJECTIVE else 1
            axis.plot(points["epoch"], scale * points["value"], **styles[kind])
        _label(axis, "epoch", label)
    if axes[0].lines:
        _log_scale(axes[0])
    axes[1].set_ylim(bottom=0)
    axes[1].plot([], [], label="fresh seeds", **styles["confirm"])
    axes[1].plot([], [], label="trials of the search", **styles["trial"])
    axes[1].legend(frameon=False)
    return bool(axes[0].lines)


def _log_scale(axis: Axes) -> None:
    """With ticks such as 70 and 100, where matplotlib's own read 7 x 10^1 and 10^2."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _lines(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str
) -> Iterator[tuple[str, pd.DataFrame]]:
    kinds = runs.set_index("run")["kind"]
    of_metric = curves[(curves["metric"] == metric) & curves["run"].isin(kinds.index)]
    for run, points in of_metric.groupby("run"):
        yield str(kinds[run]), points.sort_values("step")


def _search(figure: Figure, runs: pd.DataFrame, color: str) -> bool:
    trials = runs[runs["kind"] == "trial"].sort_values("slot")
    if trials["valid_wer"].notna().sum() == 0:
        return False
    axis = figure.subplots()
    ended = trials["state"].isin(TRAINED)
    for chosen, marker, shade, label in (
        (ended, "o", color, "trained to the end"),
        (~ended, "x", DARK, "pruned, diverged, failed or stopped"),
    ):
        some = trials[chosen]
        axis.scatter(some["slot"], 100 * some["valid_wer"], marker=marker, color=shade, label=label)
    best = np.fmin.accumulate(trials["valid_wer"].where(ended))  # ignores NaN
    axis.step(trials["slot"], 100 * best, where="post", color=color, label="best so far")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False)
    _label(axis, "trial", "valid WER, %")
    return True


def _test_wer(figure: Figure, systems: pd.DataFrame, colors: Mapping[str, str]) -> bool:
    known = systems[systems["wer_mean"].notna()].iloc[::-1]  # the first on top
    if known.empty:
        return False
    axis = figure.subplots()
    mean = 100 * known["wer_mean"].to_numpy(dtype=np.float64)
    low = 100 * known["wer_low"].to_numpy(dtype=np.float64)
    high = 100 * known["wer_high"].to_numpy(dtype=np.float64)
    shades = [colors[name] for name in known["system"]]
    rows = np.arange(len(known))
    axis.hlines(rows, low, high, colors=shades, linewidth=3)
    axis.scatter(mean, rows, color=shades, s=60, zorder=3)
    for row, value in zip(rows, mean, strict=True):
        axis.annotate(f"{value:.1f}", (value, row), (0, 9), textcoords="offset points", ha="center")
    axis.set_yticks(rows, [name.replace("$", r"\$") for name in known["system"]])
    axis.set_ylim(-0.7, len(known) - 0.3)
    _label(axis, "test WER, % (95 % interval)", "")
    return True


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without metadata: the same numbers give the same bytes.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
