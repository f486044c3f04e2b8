"""The descriptions, in Markdown, that MLflow shows above a run's numbers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from bench.runs.layout import RunFile, Summary
from reports.columns import PairColumns, seen_from
from reports.format import (
    MISSING,
    NBSP,
    in_markdown,
    is_missing,
    markdown_table,
    percent,
    points,
    points_range,
    setting,
)

NOTE_TAG = "mlflow.note.content"
"""The tag that MLflow shows, as Markdown, for a run's description."""
GAP = 2 * NBSP

ENDS: Mapping[str, Callable[[float], str]] = {
    "best/valid/wer": lambda wer: f"valid WER {percent(wer)}",
    "best/epoch": lambda epoch: f"best epoch {epoch:.0f}",
    "num_epochs": lambda epochs: f"{epochs:.0f} epochs",
    "test/wer": lambda wer: f"test WER {percent(wer)}",
    "test/cer": lambda cer: f"test CER {percent(cer)}",
    "train_seconds": lambda seconds: f"{seconds:,.0f} s of training",
}
"""Phrases of the description of an ended run, by metric."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of a study; tables as in `bench.results.comparison`."""

    verdict: str
    """One sentence."""
    command: str
    """Repeats the study."""
    report: Path
    """The HTML file."""
    baseline: str
    """The system that the others are compared with."""
    systems: pd.DataFrame
    pairs: pd.DataFrame
    colors: Mapping[str, str]
    """By system, as in the report: "#0072B2", …"""
    notes: tuple[str, ...] = ()
    """Sentences to be read with the verdict: a stamp, what each look has decided."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the study's parents and summaries: its rounds, or that seeds were raised."""

    def metrics(self, system: str) -> dict[str, float]:
        """The numbers of one system, and its difference of WER to the baseline (above zero: worse
        than that)."""
        row = self.systems.set_index("system").loc[system]
        numbers = {
            str(key): float(value)
            for key, value in row.items()
            if isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        }
        return numbers | self.difference(system)

    def difference(self, system: str) -> dict[str, float]:
        """`wer_delta` to the baseline, with its interval and adjusted p; nothing if unknown.

        The baseline has none to itself, where MLflow would show NaN.
        """
        if system == self.baseline:
            return _delta(0.0, 0.0, 0.0, 1.0)
        for row in cast(list[PairColumns], self.pairs.to_dict("records")):
            if {row["a"], row["b"]} == {self.baseline, system}:
                return _delta(*seen_from(row, self.baseline), row["p_adjusted"])
        return {}


def describe_run(run: RunFile, summary: Summary | None, links: Iterable[str] = ()) -> str:
    """What a run is, how it ended, what was searched for it: MLflow folds all but the first lines.
    `summary` is None while the run lasts; `links` are Markdown, to the study's report for instance.
    """
    rows = [
        (f"`{key}`", in_markdown(setting(value))) for key, value in sorted(run["params"].items())
    ]
    settings = markdown_table(("setting", "value"), rows, _apart) if rows else ""
    return "\n\n".join(filter(None, (_what(run), _end(summary), " · ".join(links), settings)))


def describe_parent(system: str, findings: Findings, links: Iterable[str] = ()) -> str:
    """`links` in Markdown, the verdict, a row a system (that of the run is bold), the command that
    repeats it, the path of the report."""
    header = ("system", "test WER", "95 % interval", "to the baseline", "seeds")
    rows = []
    for row in findings.systems.to_dict("records"):
        name = str(row["system"])
        shown = f"**{in_markdown(name)}**" if name == system else in_markdown(name)
        interval = f"{percent(row['wer_low'])} to {percent(row['wer_high'])}"
        known = not is_missing(row["wer_mean"])
        to_base = "baseline" if name == findings.baseline else _points(findings.difference(name))
        seeds = f"{row['num_seeds']:.0f}"
        rows.append(
            (shown, percent(row["wer_mean"]), interval if known else MISSING, to_base, seeds)
        )
    verdict = f"**{in_markdown(findings.verdict)}**"
    table = markdown_table(header, rows, _apart)
    reproduce = f"Reproduce: `{findings.command}` · Report: `{findings.report}`"
    notes = "\n".join(f"- {in_markdown(note)}" for note in findings.notes)
    # MLflow folds all but the first lines, and the verdict on six systems takes four.
    return "\n\n".join(filter(None, (" · ".join(links), verdict, notes, table, reproduce)))


def _apart(cell: str) -> str:
    """A cell that is Markdown already, with room after it: MLflow leaves none between columns."""
    return cell + GAP


def _what(run: RunFile) -> str:
    system, slot, seed = f"**{in_markdown(run['system'])}**", run["slot"], run["seed"]
    if run["kind"] == "trial":
        chosen = (
            "the defaults of its search space" if slot == 0 else "settings that the search chose"
        )
        return f"Trial {slot} of {system}: {chosen}, seed {seed}. The test split stays closed."
    if run["kind"] == "confirm":
        return (
            f"Confirm run {slot} of {system}: the best settings of its search, retrained with the "
            f"fresh seed {seed}; the test split is scored once."
        )
    return f"A single run of {system}, seed {seed}."


def _end(summary: Summary | None) -> str:
    if summary is None:
        return "Running."
    metrics, error = summary["metrics"], summary["error"] or {}
    parts = [f"**{summary['state'].capitalize()}**"]
    if error:
        parts.append(f"{error['kind']}: {in_markdown(error['message'])}")
    # Only what is there: a record leaves out what was no finite number.
    for key, shown in ENDS.items():
        if key in metrics:
            parts.append(shown(metrics[key]))
    return " · ".join(parts)


def _delta(delta: float, low: float, high: float, p: float) -> dict[str, float]:
    return {"wer_delta": delta, "wer_delta_low": low, "wer_delta_high": high, "wer_delta_p": p}


def _points(difference: Mapping[str, float]) -> str:
    if not difference:
        return MISSING
    delta, low, high = (difference[f"wer_delta{end}"] for end in ("", "_low", "_high"))
    return f"{points(delta)} ({points_range(low, high)})"
