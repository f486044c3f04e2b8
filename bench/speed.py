"""Measure what training and recognition cost here, against two ways in which others train."""

from bench.core import cli
from bench.flags.speed import build_parser

if __name__ == "__main__":
    cli.start("speed", build_parser())  # before the imports below: they take seconds

import argparse
import logging
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.measure import Measurement
from rich.table import Table

from bench.core.config import parse_settings, updated
from bench.core.console import STDOUT, counting
from bench.core.paths import OUT
from bench.costs.joined import joined
from bench.costs.ledger import keep
from bench.costs.measure import Costs, Effort, measure
from bench.data.corpora import CorpusConfig, load_corpus, require_splits
from bench.data.store import open_store
from bench.study.space import load_space
from bench.training.config import RunConfig, check_training_memory, default_run_config
from bench.training.device import resolve_device
from variants import VARIANTS

NUM_EPOCHS = 2000
"""More than any run takes: the rounds end it."""

_logger = logging.getLogger("bench.speed")  # run with -m, __name__ is "__main__"


def default_variants() -> list[str]:
    """Of the first family the first variant of each cell in each direction."""
    first = type(next(iter(VARIANTS.values())).config)
    names: dict[tuple[str, str], str] = {}
    for name, spec in VARIANTS.items():
        if type(spec.config) is first:
            names.setdefault((spec.config.cell, spec.config.directions), name)
    return list(names.values())


def main(options: argparse.Namespace) -> None:
    """Measure one variant after another, and print a row for each."""
    effort = Effort(
        minutes=options.minutes, turn_seconds=options.seconds, num_rounds=options.rounds
    )
    corpus_config = CorpusConfig.parse(
        options.corpus, text=options.text, audio=options.audio, channel=options.channel
    )
    configs = _configs(options, corpus_config)
    device = resolve_device(options.device)
    for config in configs:
        check_training_memory(config, device.type)
    with counting(f"corpus {corpus_config.name}") as progress:
        corpus = load_corpus(corpus_config, progress=progress)
    require_splits(corpus, ("train",), "a measurement of speed")
    rows = []
    OUT.mkdir(exist_ok=True)
    # Checkpoints go to the disk where those of a study go, and what they cost depends on it.
    with TemporaryDirectory(prefix=".speed-", dir=OUT) as folder:
        if options.utterance_seconds is not None:
            corpus = joined(corpus, options.utterance_seconds, Path(folder) / "joined")
        for features in {config.features for config in configs}:
            with counting("features") as progress:
                open_store(corpus, features, progress=progress)
        for number, config in enumerate(configs):
            name = f"{config.variant} {number + 1}/{len(configs)}"
            with counting(name) as progress:
                row = measure(
                    config,
                    corpus,
                    effort,
                    device=device,
                    folder=Path(folder) / str(number),
                    progress=progress,
                )
            _logger.info("%s: %.1f s/s", name, row.audio_seconds_per_second)
            rows.append(row)
            keep([row])
    if options.json:
        cli.print_json([asdict(row) for row in rows])
        return
    _print_table([_speed_cells(row) for row in rows])
    STDOUT.print("\nshare of a run's time, %")
    _print_table([_share_cells(row) for row in rows])


def _configs(options: argparse.Namespace, corpus: CorpusConfig) -> list[RunConfig]:
    """Each variant at each width in its space's default setting, all checked before anything is
    measured."""
    chosen = parse_settings(options.settings)
    widths = [{"model.width": width} for width in options.width] or [{}]
    configs = []
    for variant in options.variant or default_variants():
        base = default_run_config(variant, corpus)
        space = load_space(variant, base)
        usual = {**space.fixed, **space.defaults(), "training.num_epochs": NUM_EPOCHS}
        base = updated(base, usual | chosen | {"seed": options.seed})
        configs += [updated(base, width) for width in widths]
    return configs


def _speed_cells(row: Costs) -> dict[str, str]:
    def shown(value: float | None, form: str, scale: float = 1.0) -> str:
        return "–" if value is None else format(value * scale, form)

    return {
        "variant": row.variant,
        "width": str(row.width),
        "utterance s": f"{row.utterance_seconds:.1f}",
        "batch s": f"{row.batch_seconds:g}",
        "audio s/s": shown(row.audio_seconds_per_second, ".1f"),
        "× family": shown(row.ratio, ".1f"),
        "× plain": shown(row.plain_ratio, ".2f"),
        "% of peak": shown(row.fraction_of_matmul_peak, ".0f", 100),
        "recurrent": shown(row.recurrent_fraction_of_matmul_peak, ".0f", 100),
        "padding %": shown(row.padding_share, ".1f", 100),
        "memory MB": shown(row.peak_memory_bytes, ".0f", 1e-6),
        "latency ms": shown(row.latency_seconds, ".0f", 1e3),
        "real time": shown(row.real_time_factor, ".3f"),
        "× workers": shown(row.workers_ratio, ".2f"),
        "features s/s": shown(row.features_audio_seconds_per_second, ".0f"),
    }


def _share_cells(row: Costs) -> dict[str, str]:
    shares = {phase: f"{100 * share:.1f}" for phase, share in row.shares.items()}
    overhead = f"{100 * row.overhead_share:.1f}"
    return {
        "variant": row.variant,
        "width": str(row.width),
        **shares,
        "overhead": overhead,
    }


def _print_table(rows: list[dict[str, str]]) -> None:
    table = Table(box=None, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for key in columns:
        table.add_column(key, justify="left" if key == "variant" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row.get(key, "–") for key in columns))
    # Whole, even where it is wider than the terminal, or than the 80 columns of a pipe.
    table.width = Measurement.get(STDOUT, STDOUT.options.update_width(1000), table).maximum
    STDOUT.print(table, crop=False)
