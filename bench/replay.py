"""Simulate searches over recorded learning curves, to compare samplers and pruners."""

from bench.core import cli
from bench.flags.replay import build_parser

if __name__ == "__main__":
    cli.start("replay", build_parser())  # before the imports below: they take seconds

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from bench.core.console import STDOUT
from bench.results.search_curves import rank_agreement
from bench.runs import read_study
from bench.study.definition import find_study, load
from bench.study.replay import Method, Recording, contest
from bench.study.search import PRUNERS, SAMPLERS
from bench.study.space import load_budget


def main(options: argparse.Namespace) -> None:
    """Read the curves, save them with ``--save``, simulate, print."""
    recording = read_recording(options.curves)
    if options.save is not None:
        recording.save(options.save)
    budget = replace(
        load_budget(options.budget),
        num_trials=options.trials,
        startup_trials=max(2, options.trials // 5),
        warmup_epochs=max(1, round(0.4 * recording.num_epochs)),
    )
    methods = [(sampler, pruner) for sampler in SAMPLERS for pruner in PRUNERS]
    rows = contest(recording, budget, methods, options.studies, options.seed)
    agreement = agreements(recording)
    if options.json:
        cli.print_json(
            {"source": recording.source, "methods": [asdict(row) for row in rows], **agreement}
        )
        return
    _print(recording, options, rows, agreement)


def read_recording(name: str) -> Recording:
    """The curves in the file `name`, or those of the study `name`, of its first system.

    Raises:
        UserError: neither, or too few trials that trained to the end.
    """
    path = Path(name)
    if path.is_file():
        return Recording.load(path)
    folder = find_study(name)
    definition = load(folder)
    label = next(iter(definition.systems))
    tables = read_study(folder)
    runs = tables.runs
    ended = runs[
        (runs["system"] == label) & (runs["kind"] == "trial") & (runs["state"] == "finished")
    ]
    return Recording(
        source=f"{label} in {definition.name}",
        space=definition.searched(label),
        trials=tuple(ended["params"]),
        wers_NE=_curves(tables.curves, ended["run"], "valid/wer"),
        losses_NE=_curves(tables.curves, ended["run"], "valid/loss"),
    )


def _curves(curves: pd.DataFrame, runs: "pd.Series[str]", metric: str) -> Any:
    """One row a run, one column an evaluation."""
    own = curves[curves["metric"] == metric].sort_values(["run", "step"])
    return np.array([own.loc[own["run"] == run, "value"].to_numpy(dtype=float) for run in runs])


def agreements(recording: Recording) -> dict[str, Any]:
    """Kendall's tau over the trials: loss against WER, and the WER of each epoch against the best
    one, which says how early a trial shows what it is worth."""
    best_N = recording.wers_NE.min(axis=1)
    return {
        "loss_and_wer": rank_agreement(recording.losses_NE.min(axis=1), best_N),
        "wer_by_epoch_and_best": [rank_agreement(wers_N, best_N) for wers_N in recording.wers_NE.T],
    }


def _print(
    recording: Recording,
    options: argparse.Namespace,
    rows: list[Method],
    agreement: dict[str, Any],
) -> None:
    STDOUT.print(
        f"{len(recording.trials)} curves of {recording.num_epochs} epochs, {recording.source}; "
        f"{options.studies} studies of {options.trials} trials' compute each\n",
        markup=False,
    )
    table = Table(box=None, pad_edge=False)
    for name in ("sampler", "pruner"):
        table.add_column(name)
    heads = ("best WER, %", "better, %", "compute to random's WER", "95 %", "reached, %")
    for name in heads:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.sampler,
            row.pruner,
            f"{100 * row.best_wer:.2f}",
            f"{100 * row.share_better:.0f}",
            f"{row.compute:.2f}",
            f"{row.compute_low:.2f} to {row.compute_high:.2f}",
            f"{100 * row.share_reached:.0f}",
        )
    STDOUT.print(table)
    by_epoch = " ".join(f"{tau:.2f}" for tau in agreement["wer_by_epoch_and_best"])
    STDOUT.print(
        "\nbest WER: mean, at the compute of random search's whole budget; better: share of studies"
        " below random\nsearch of the same seed; compute: median, as a share of that budget"
        f"\nKendall's tau, lowest loss against lowest WER: {agreement['loss_and_wer']:.2f}"
        f"\nKendall's tau, WER after each epoch against lowest WER: {by_epoch}"
    )
