"""Simulate searches over recorded learning curves, to compare samplers and pruners."""

from bench.core import cli
from bench.flags.replay import build_parser

if __name__ == "__main__":
    cli.start("replay", build_parser())  # before the imports below: they take seconds

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.console import STDOUT, print_table
from bench.core.errors import UserError
from bench.core.seeding import numpy_generator
from bench.results.search import rank_agreement
from bench.runs import read_study
from bench.stats.clusters import Floats
from bench.study.definition import find_study, load
from bench.study.replay import Method, Recording, compare_methods
from bench.study.schedules import Replayed, Schedule, candidates, replay
from bench.study.search import PRUNERS, SAMPLERS
from bench.study.space import HALVING, load_budget
from reports.format import markdown_table

NUM_SEARCHES = 20_000
"""Of each schedule; a search costs microseconds."""


def main(options: argparse.Namespace) -> None:
    """Read the curves, save them with ``--save``, simulate, print."""
    recording = read_recording(options.curves)
    if options.save is not None:
        recording.save(options.save)
    if options.schedules:
        _schedules(recording, options)
        return
    if options.proxy is not None or options.markdown:
        raise UserError("--proxy and --markdown go with --schedules, which is missing; add it")
    budget = replace(
        load_budget(options.budget),
        num_trials=options.trials,
        startup_trials=max(2, options.trials // 5),
        warmup_epochs=max(1, round(0.4 * recording.num_epochs)),
    )
    # Halving decides on all trials of a search together: --schedules replays it.
    pruners = [pruner for pruner in PRUNERS if pruner != HALVING]
    methods = [(sampler, pruner) for sampler in SAMPLERS for pruner in pruners]
    rows = compare_methods(recording, budget, methods, options.studies, options.seed)
    agreement = agreement_of(recording)
    if options.json:
        cli.print_json(
            {
                "source": recording.source,
                "methods": [asdict(row) for row in rows],
                **asdict(agreement),
            }
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


def _curves(curves: pd.DataFrame, runs: "pd.Series[str]", metric: str) -> Floats:
    """One row a run, one column an evaluation."""
    own = curves[curves["metric"] == metric].sort_values(["run", "step"])
    return np.array([own.loc[own["run"] == run, "value"].to_numpy(dtype=float) for run in runs])


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Kendall's tau over the trials."""

    loss_and_wer: float
    wer_by_epoch_and_best: list[float]
    """The WER of each epoch against the best one: how early a trial shows what it is worth."""


def agreement_of(recording: Recording) -> Agreement:
    """How well the trials' ranks agree."""
    best_N = recording.wers_NE.min(axis=1)
    return Agreement(
        loss_and_wer=rank_agreement(recording.losses_NE.min(axis=1), best_N),
        wer_by_epoch_and_best=[rank_agreement(wers_N, best_N) for wers_N in recording.wers_NE.T],
    )


def _print(
    recording: Recording,
    options: argparse.Namespace,
    rows: list[Method],
    agreement: Agreement,
) -> None:
    STDOUT.print(
        f"{len(recording.trials)} curves of {recording.num_epochs} epochs, {recording.source}; "
        f"{options.studies} studies of {options.trials} trials' compute each\n",
        markup=False,
    )
    header = (
        "sampler", "pruner", "best WER, %", "better, %", "compute to random's WER", "95 %",
        "reached, %",
    )  # fmt: skip
    cells = [
        (
            row.sampler,
            row.pruner,
            f"{100 * row.best_wer:.2f}",
            f"{100 * row.share_better:.0f}",
            f"{row.compute:.2f}",
            f"{row.compute_low:.2f} to {row.compute_high:.2f}",
            f"{100 * row.share_reached:.0f}",
        )
        for row in rows
    ]
    print_table(header, cells, num_left=2)
    by_epoch = " ".join(f"{tau:.2f}" for tau in agreement.wer_by_epoch_and_best)
    STDOUT.print(
        "\nbest WER: mean, at the compute of random search's whole budget; better: share of studies"
        " below random\nsearch of the same seed; compute: median, as a share of that budget"
        f"\nKendall's tau, lowest loss against lowest WER: {agreement.loss_and_wer:.2f}"
        f"\nKendall's tau, WER after each epoch against lowest WER: {by_epoch}"
    )


def _schedules(recording: Recording, options: argparse.Namespace) -> None:
    """Replay the schedules of halving; print a table, a page, or JSON."""
    usual = Schedule(num_trials=options.trials)
    rows = replay(
        recording,
        list(candidates(options.trials, recording.num_epochs)),
        usual,
        NUM_SEARCHES,
        numpy_generator(options.seed, "replay"),
    )
    proxy = None if options.proxy is None else Recording.load(options.proxy)
    ranks = dict(_ranks(recording, proxy))
    if options.json:
        cli.print_json(
            {
                "source": recording.source,
                "schedules": [asdict(row) for row in rows],
                "kendalls_tau": ranks,
            }
        )
    elif options.markdown:
        print(_page(recording, rows, ranks, options))
    else:
        print_table(*_cells(rows), num_left=3)
        for name, tau in ranks.items():
            STDOUT.print(f"Kendall's tau with the lowest WER, {name}: {tau:.2f}", markup=False)


def _ranks(recording: Recording, proxy: Recording | None) -> Iterator[tuple[str, float]]:
    """Kendall's tau of what a cheaper measurement says with the lowest WER of a whole trial."""
    best_N = recording.wers_NE.min(axis=1)
    for name, values_NE in (("WER", recording.wers_NE), ("loss", recording.losses_NE)):
        for epoch in range(1, recording.num_epochs):
            tau = rank_agreement(values_NE[:, epoch - 1], best_N)
            yield f"{name} after epoch {epoch} of {recording.num_epochs}", tau
    if proxy is None:
        return
    # A setting is a dict, which cannot be a key; its sorted items as text can.
    known = {
        str(sorted(trial.items())): wer for trial, wer in zip(recording.trials, best_N, strict=True)
    }
    names = [str(sorted(trial.items())) for trial in proxy.trials]
    if missing := sum(name not in known for name in names):
        raise UserError(
            f"a proxy has the settings of the recording, {missing} of its {len(names)} trials have "
            "others; record it with the same space and seed"
        )
    full_N = np.array([known[name] for name in names])
    for what, values_NE in (("WER", proxy.wers_NE), ("loss", proxy.losses_NE)):
        yield f"lowest {what}, {proxy.source}", rank_agreement(values_NE.min(axis=1), full_N)


def _cells(rows: Sequence[Replayed]) -> tuple[list[str], list[list[str]]]:
    header = ["search", "ranked by", "trials", "compute", "best WER, %", "against random, points",
              "95 %", "reached, %"]  # fmt: skip
    cells = []
    for row in rows:
        plan = row.schedule
        rungs = ", ".join(map(str, plan.rungs))
        name = f"halving by {plan.factor} at {rungs}" if rungs else "random"
        low, high = (row.gap + sign * row.gap_half_width for sign in (-1, 1))
        cells.append(
            [
                name + ("" if plan.continues else ", restarts"),
                plan.criterion if rungs else "",
                " → ".join(map(str, plan.sizes())),
                f"{row.compute:.2f}",
                f"{100 * row.best_wer:.2f}",
                f"{100 * row.gap:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                f"{100 * row.share_reached:.0f}",
            ]
        )
    return header, cells


def _page(
    recording: Recording,
    rows: Sequence[Replayed],
    ranks: Mapping[str, float],
    options: argparse.Namespace,
) -> str:
    """The page in docs/results/: question, command, both tables, how to read them."""
    proxy = f" --proxy {options.proxy}" if options.proxy else ""
    num = len(recording.trials)
    by_rank = sorted(ranks.items(), key=lambda item: -item[1])
    return "\n\n".join(
        (
            "# Search: halving that continues, replayed",
            "Does a search that begins many trials, and lets the best of them go on from where "
            "they are, find with a third of the compute what random search finds?",
            f"```sh\npython -m bench.replay {options.curves} --trials {options.trials} --schedules"
            f"{proxy} --markdown\n```",
            f"{num} recorded curves of {recording.num_epochs} epochs ({recording.source}); "
            f"{NUM_SEARCHES:,} simulated searches of each schedule, their trials drawn from the "
            f"recorded ones. Compute: epochs of training as a share of random search with "
            f"{options.trials} trials. Against random: mean best WER minus that of random search "
            "with the whole compute. Reached: share of searches at or below that mean.",
            markdown_table(*_cells(rows)),
            "How well does something cheaper rank the settings? Kendall's τ with the lowest WER of "
            "the whole trial:",
            markdown_table(
                ["measured instead", "τ"], [[name, f"{tau:.2f}"] for name, tau in by_rank]
            ),
            f"Limits: one variant on one corpus; with {num} curves the best setting is a single "
            "trial, so what ranks that one well looks good.",
        )
    )
