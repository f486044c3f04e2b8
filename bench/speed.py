"""Measure the cost of training and recognition on this machine, against two baselines."""

from bench.core import cli
from bench.flags.speed import build_parser

if __name__ == "__main__":
    cli.start("speed", build_parser())  # before the imports below: they take seconds

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.core.config import Layer, Origin, parse_settings
from bench.core.console import STDOUT, counting, print_table
from bench.core.cores import torch_threads
from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.costs import records
from bench.costs.data import concatenated_utterances, evenly_spaced
from bench.costs.latency import Network, align_all, load_network, measure_latency
from bench.costs.measure import Effort, measure
from bench.costs.survey import Row, Setting, run_part
from bench.costs.survey_parts import PARTS
from bench.data.corpora import CorpusConfig, load_corpus, require_splits
from bench.data.store import open_store
from bench.results.study import chosen_studies
from bench.runs import confirm_checkpoints, read_study
from bench.study.definition import StudyDefinition, load
from bench.study.layers import corpus_layers, resolve_run, seed_layer, set_layer
from bench.study.request import corpus_of
from bench.study.space import load_space
from bench.training.config import RunConfig, check_training_memory, default_run_config
from bench.training.device import resolve_device
from bench.training.outside import find_variant
from reports.measurements import BaselineSpeed, LatencyRow, SpeedRow
from variants import VARIANTS
from variants.ops.cells import COMPOSED

NUM_EPOCHS = 2000
"""More than a measurement takes; it ends after its last round."""

_logger = logging.getLogger("bench.speed")  # run with -m, __name__ is "__main__"


def default_variants() -> list[str]:
    """The first variant of each cell and direction in the first family, of cells that torch has and
    that so have a baseline."""
    first = type(next(iter(VARIANTS.values())).config)
    names: dict[tuple[str, str], str] = {}
    for name, spec in VARIANTS.items():
        if type(spec.config) is first and spec.config.cell not in COMPOSED:
            names.setdefault((spec.config.cell, spec.config.directions), name)
    return list(names.values())


def main(options: argparse.Namespace) -> None:
    """Measure one variant after another, and print a row for each."""
    if options.dry_run and not options.survey:
        raise UserError("--dry-run belongs to --survey, got it alone; add --survey")
    if options.survey:
        _survey(options)
        return
    if options.latency:
        _measure_latencies(options)
        return
    effort = Effort(
        minutes=options.minutes, slice_seconds=options.seconds, num_rounds=options.rounds
    )
    corpus_config = corpus_of(options, options.corpus)
    configs = _configs(options, corpus_config)
    device = resolve_device(options.device)
    for config in configs:
        check_training_memory(config, device.type)
    with counting(f"corpus {corpus_config.title}") as progress:
        corpus = load_corpus(corpus_config, progress=progress)
    require_splits(corpus, ("train",), "a measurement of speed")
    rows = []
    OUT.mkdir(exist_ok=True)
    # On the same disk as a study's runs, since the time of a checkpoint depends on the disk.
    with TemporaryDirectory(prefix=".speed-", dir=OUT) as folder:
        if options.utterance_seconds is not None:
            corpus = concatenated_utterances(
                corpus, options.utterance_seconds, Path(folder) / "concatenated"
            )
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
            records.save(row)
    if options.json:
        cli.print_json([asdict(row) for row in rows])
        return
    _print_rows([_speed_cells(row) for row in rows])
    STDOUT.print("\nshare of a run's time, %")
    _print_rows([_share_cells(row) for row in rows])


def _measure_latencies(options: argparse.Namespace) -> None:
    """Measure the confirm runs of a study one after another, and print a row for each."""
    device = resolve_device(options.device)
    folder, definition, runs = _confirm_runs(options.study)
    with torch_threads(1):
        networks = {run: load_network(path, run, device) for run, (_, path) in runs.items()}
        aligner = _aligner(options.aligner, runs, networks)
        with counting(f"corpus {definition.corpus.title}") as progress:
            corpus = load_corpus(definition.corpus, progress=progress)
        require_splits(corpus, ("valid",), "a measurement of latency")
        valid = corpus.split("valid")
        chosen = evenly_spaced(valid, min(1.0, options.utterances / len(valid)))
        with counting("alignment") as progress:
            spoken = align_all(aligner, chosen, progress)
        rows = []
        for number, (run, (system, _)) in enumerate(runs.items()):
            with counting(f"{run} {number + 1}/{len(runs)}") as progress:
                row = measure_latency(
                    networks[run],
                    spoken,
                    study=definition.name,
                    system=system,
                    aligner=aligner.run,
                    device=device,
                    progress=progress,
                )
            records.save(row, folder.parent)
            rows.append(row)
    if options.json:
        cli.print_json([asdict(row) for row in rows])
    else:
        _print_rows([_latency_cells(row) for row in rows])


def _confirm_runs(study: str | None) -> tuple[Path, StudyDefinition, dict[str, tuple[str, Path]]]:
    """A study's folder and definition, and by confirm run its system and checkpoint, the run with
    the lowest valid WER first.

    Raises:
        UserError: no study, or none of its confirm runs has ended and still has a checkpoint.
    """
    folder, *_ = chosen_studies([study] if study else [], "measure the latency of")
    runs = read_study(folder).runs
    found = {run["run"]: (run["system"], path) for run, path in confirm_checkpoints(folder, runs)}
    if not found:
        raise UserError(
            f"--latency needs confirm runs with checkpoints, got none in {folder}; finish the "
            "sweep, or name another --study"
        )
    return folder, load(folder), found


def _aligner(
    path: Path | None, runs: Mapping[str, tuple[str, Path]], networks: Mapping[str, Network]
) -> Network:
    """The network of `path`, on the CPU; without one, of the best run that cannot stream."""
    host = torch.device("cpu")
    for run, (_, own) in runs.items():
        is_chosen = (
            networks[run].network.cannot_stream
            if path is None
            else path.exists() and own.samefile(path)
        )
        if is_chosen:
            return load_network(own, run, host)
    if path is not None:
        return load_network(path, str(path), host)
    raise UserError(
        "an aligner must be named by --aligner FILE, since no confirm run is of a network in two "
        "directions; take a best.pt of another study"
    )


def _latency_cells(row: LatencyRow) -> dict[str, str]:
    def shown(milliseconds: float | None) -> str:
        return "–" if milliseconds is None else f"{milliseconds:.0f}"

    return {
        "run": row.run,
        "look-ahead ms": f"{row.mean_look_ahead_ms:.0f}",
        "(most)": f"{row.look_ahead_ms:.0f}",
        "compute p50": f"{row.compute_p50_ms:.1f}",
        "p90": f"{row.compute_p90_ms:.1f}",
        "p99": f"{row.compute_p99_ms:.1f}",
        "emission": shown(row.emission_p50_ms),
        "words": str(row.num_emissions),
        "user waits": shown(row.user_perceived_ms),
        "final after": shown(row.finalisation_ms),
        "unstable %": f"{100 * row.unstable_share:.1f}",
    }


def _configs(options: argparse.Namespace, corpus: CorpusConfig) -> list[RunConfig]:
    """Each variant at each width with the default values of its search space.

    All are built, and so checked, before the first measurement.
    """
    widths = [{"model.width": width} for width in options.width] or [{}]
    epochs = Layer(Origin("budget", "bench/speed.py"), {"training.num_epochs": NUM_EPOCHS})
    shared = (
        *corpus_layers(corpus, "--corpus"),
        epochs,
        set_layer(parse_settings(options.settings)),
        seed_layer(options.seed, "--seed"),
    )
    configs = []
    for variant in map(find_variant, options.variant or default_variants()):
        space = load_space(variant, default_run_config(variant, corpus))
        usual = (*shared, *space.fixed_layers(), *space.default_layers())
        for width in widths:
            chosen = Layer(Origin("flag", "--width"), width)
            configs.append(resolve_run(variant, (*usual, chosen)).config)
    return configs


def _survey(options: argparse.Namespace) -> None:
    """Measure a GPU part by part; one table of all at the end."""
    device = "cpu" if options.dry_run else resolve_device("cuda").type
    setting = Setting(device=device, is_dry=options.dry_run)
    rows: list[Row] = []
    for part in PARTS:
        with counting(f"{part.name}, at most {part.limit_seconds:g} s"):
            rows += run_part(part, setting)
    if options.json:
        cli.print_json([asdict(row) for row in rows])
        return
    for row in rows:
        found = ", ".join(f"{value:.4g} {name}" for name, value in row.values.items())
        said = found or f"not measured: {row.remark}"
        STDOUT.print(f"{row.part:<11}{row.case:<34}{said}", markup=False, soft_wrap=True)


def _speed_cells(row: SpeedRow) -> dict[str, str]:
    def shown(value: float | None, form: str, scale: float = 1.0) -> str:
        return "–" if value is None else format(value * scale, form)

    return {
        "variant": row.variant,
        "width": str(row.width),
        "utterance s": f"{row.utterance_seconds:.1f}",
        "batch s": f"{row.batch_seconds:g}",
        "audio s/s": shown(row.audio_seconds_per_second, ".1f"),
        "× family": shown(_ratio(row.family), ".1f"),
        "× torch": shown(_ratio(row.torch_baseline), ".2f"),
        "% of peak": shown(row.fraction_of_matmul_peak, ".0f", 100),
        "of floor": shown(row.latency_floor_share, ".0f", 100),
        "recurrent": shown(row.recurrent_fraction_of_matmul_peak, ".0f", 100),
        "padding %": shown(row.padding_share, ".1f", 100),
        "memory MB": shown(row.peak_memory_bytes, ".0f", 1e-6),
        "latency ms": shown(row.latency_seconds, ".0f", 1e3),
        "real time": shown(row.real_time_factor, ".3f"),
        "× workers": shown(row.workers_ratio, ".2f") + (" MPS" if row.workers_share_by_mps else ""),
        "kJ/h": shown(row.joules_per_audio_hour, ".1f", 1e-3),
        "features s/s": shown(row.features_audio_seconds_per_second, ".0f"),
    }


def _ratio(baseline: BaselineSpeed | None) -> float | None:
    return baseline.ratio if baseline else None


def _share_cells(row: SpeedRow) -> dict[str, str]:
    shares = {phase: f"{100 * share:.1f}" for phase, share in row.shares.items()}
    overhead = f"{100 * row.overhead_share:.1f}"
    return {
        "variant": row.variant,
        "width": str(row.width),
        **shares,
        "overhead": overhead,
    }


def _print_rows(rows: list[dict[str, str]]) -> None:
    """Print `rows` by column; the first is a name."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print_table(columns, ([row.get(key, "–") for key in columns] for row in rows))
