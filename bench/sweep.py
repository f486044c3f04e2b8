"""Search, confirm and compare variants, or the systems of a study, under one budget."""

import argparse
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bench.core import cli
from bench.core.config import flatten, parse_settings, to_dict
from bench.core.console import STDOUT, counting
from bench.core.errors import UserError
from bench.core.masking import mask
from bench.core.paths import OUT
from bench.data.batches import feasible_subset
from bench.data.corpora import CorpusConfig, load_corpus
from bench.data.utterance import Corpus
from bench.results.comparison import Comparison
from bench.results.index import write_index
from bench.results.report_input import REPORT_FILE, command_of, gather
from bench.study.definition import StudyDefinition, begin_or_return, define
from bench.study.launcher import Launcher, Workers
from bench.study.match import MATCH_FORM, Match
from bench.study.question import load_study_file
from bench.study.queue import best_slot
from bench.study.run import datasets
from bench.study.space import load_budget
from bench.tracking import Findings, StudyTracker, flush_unsent
from bench.training.config import build_model
from bench.training.device import resolve_device
from reports import build

DEFAULT_CORPUS = "spoken"
DEFAULT_BUDGET = "quick"

_logger = logging.getLogger("bench.sweep")  # run with -m, __name__ is "__main__"


def main(options: argparse.Namespace) -> None:
    """Run the sweep that `options` ask for, write its report, print its verdict."""
    signal.signal(signal.SIGTERM, _interrupt)
    if options.storage and mask(options.storage) != options.storage:
        _logger.warning(
            "ps shows the password in --storage to everyone on this machine; leave it out there "
            "and put it into ~/.pgpass or PGPASSWORD"
        )
    device = resolve_device(options.device).type
    workers = share_cores(options.workers, device)
    definition = definition_of(options, device)
    with counting(f"corpus {definition.corpus.name}") as progress:
        corpus = load_corpus(definition.corpus, progress=progress)
    for split in ("valid", "test"):
        if not corpus.split(split):
            raise UserError(
                f"a study needs a {split} split, corpus {corpus.name} has none; supply one, or "
                "train without it by python -m bench.train"
            )
    definition = replace(
        definition, data_digest=corpus.digest, excluded=_common_subset(corpus, definition)
    )
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    _logger.info("study %s, %d workers, device %s", definition.name, workers.count, device)

    tracker = StudyTracker.open(definition.name, data_digest=corpus.digest)
    flush_unsent(folder)
    parents = {label: tracker.parent(label) for label in definition.systems}
    launcher = Launcher(
        folder, definition, workers=workers, storage_url=options.storage, parents=parents
    )
    try:
        launcher.run()
    except BaseException as error:
        tracker.stop("killed" if isinstance(error, KeyboardInterrupt) else "failed")
        raise

    report_input, comparison = gather(folder, audio=options.audio)
    report = build(report_input, folder / REPORT_FILE)
    write_index()
    flush_unsent(folder)
    _summarise(tracker, definition, comparison, launcher, report)
    result = _as_json(definition, comparison, report, tracker.tracking_uri)
    if options.json:
        cli.print_json(result)
    else:
        _print_verdict(comparison, result, corpus)


def definition_of(options: argparse.Namespace, device: str) -> StudyDefinition:
    """The study that the command line asks for; what it names overrides the study's file.

    Raises:
        UserError: nothing to compare; as `load_study_file` and `define`.
    """
    if not (options.variant or options.study):
        raise UserError("a sweep needs --variant V or --study NAME, got neither; see bench.ls")
    study = None if options.study is None else load_study_file(options.study)
    corpus = options.corpus or (study.corpus if study else DEFAULT_CORPUS)
    budget = options.budget or (study.budget if study else DEFAULT_BUDGET)
    match = study.match if study else None
    if options.match is not None:
        match = Match.parse(options.match)
    return define(
        study.systems if study else options.variant,
        CorpusConfig.parse(corpus, text=options.text, channel=options.channel),
        load_budget(budget),
        seed=options.seed,
        device=device,
        settings=parse_settings(options.settings),
        match=match,
        question=study.question if study else None,
        name=options.name,
    )


def share_cores(num_workers: int | None, device: str) -> Workers:
    """One worker per core with one thread each on a CPU (1.3 to 1.5 times one worker with all), one
    worker on a GPU.

    Raises:
        UserError: less than one worker.
    """
    cores = len(os.sched_getaffinity(0))
    count = num_workers if num_workers is not None else cores if device == "cpu" else 1
    if count < 1:
        raise UserError(f"--workers must be at least 1, got {count}; leave it out for one per core")
    return Workers(count=count, threads_each=max(1, cores // count))


def _common_subset(corpus: Corpus, definition: StudyDefinition) -> tuple[str, ...]:
    """Build each system's features; the ids that some system has too few output frames for."""
    excluded: set[str] = set()
    for label in definition.systems:
        config = definition.base_config(label)
        model = build_model(config)
        with counting(f"features of {label}") as progress:
            sets = datasets(corpus, config, (), progress)
        for dataset in sets.values():
            excluded |= {item.id for item in feasible_subset(dataset, model.output_lengths)[1]}
    for split in ("train", "valid", "test"):
        if {u.id for u in corpus.split(split)} <= excluded:
            raise UserError(
                f"no {split} utterance has as many output frames as its text needs in every "
                "system; use a smaller time stride"
            )
    return tuple(sorted(excluded))


def _summarise(
    tracker: StudyTracker,
    definition: StudyDefinition,
    comparison: Comparison,
    launcher: Launcher,
    report: Path,
) -> None:
    """One summary run a system, so that comparing k systems in the MLflow UI takes k runs."""
    params = {}
    for label, queue in launcher.queues.items():
        best = best_slot(queue.slots())
        config = (
            definition.base_config(label)
            if best is None
            else definition.confirm_config(label, 0, best.params)
        )
        params[label] = flatten(to_dict(config))
    findings = Findings(
        verdict=comparison.verdict,
        command=command_of(definition),
        report=report,
        baseline=definition.baseline,
        variants=comparison.variants,
        pairs=comparison.pairs,
    )
    tracker.summarise(findings, params)


def _as_json(
    definition: StudyDefinition, comparison: Comparison, report: Path, uri: str
) -> dict[str, Any]:
    variants = [
        {
            "name": row["variant"],
            "test_wer_mean": _number(row["wer_mean"]),
            "test_wer_low": _number(row["wer_low"]),
            "test_wer_high": _number(row["wer_high"]),
            "test_cer_mean": _number(row["cer_mean"]),
            "num_trials": int(row["num_trials"]),
            "num_seeds": int(row["num_seeds"]),
            "train_seconds": _number(row["search_seconds"] + row["train_seconds"]),
        }
        for row in comparison.variants.to_dict("records")
    ]
    return {
        "study": definition.name,
        "report": str(report),
        "tracking_uri": uri,
        "verdict": comparison.verdict,
        "variants": variants,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(value)


def _print_verdict(comparison: Comparison, result: Mapping[str, Any], corpus: Corpus) -> None:
    STDOUT.print(f"\n{comparison.verdict}", style="bold", markup=False)
    STDOUT.print(f"\nreport:   {result['report']}", markup=False)
    uri = result["tracking_uri"]
    STDOUT.print(f"compare:  {_python()} -m mlflow ui --workers 1 --backend-store-uri {uri}")
    if comparison.variants["num_seeds"].any():
        heard = next((str(u.audio) for u in corpus.split("watch")), "FILE.wav")
        STDOUT.print(f"listen:   {_python()} -m bench.transcribe {heard}", markup=False)


def _python() -> str:
    """How the user calls this interpreter: by name where its environment is active."""
    active = shutil.which("python") == sys.executable
    return "python" if active else os.path.relpath(sys.executable)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.sweep`."""
    parser = cli.parser(
        "sweep",
        "Search each variant's settings under the same budget, retrain the best with fresh "
        "seeds, score the test set once per seed, and report which variant is better. Run it "
        "again to resume.",
        "--variant ds-gru",
        "--variant ds-gru --variant ds-lstm --corpus an4 --budget smoke",
        "--study look-ahead",
    )
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--variant", action="append", metavar="V", help="may be repeated")
    compared.add_argument("--study", metavar="NAME", help="a question of sweeps/studies")
    cli.add_corpus(parser, None, f"the study's, or {DEFAULT_CORPUS}")
    parser.add_argument(
        "--budget", help=f"of sweeps/budgets.toml (default: the study's, or {DEFAULT_BUDGET})"
    )
    parser.add_argument(
        "--match",
        metavar=MATCH_FORM,
        help="solve each width for so many parameters (2M), or multiply-adds per second of audio",
    )
    cli.add_settings(parser)
    cli.add_device(parser)
    parser.add_argument("--workers", type=int, help="processes (default: one per core; GPU: one)")
    parser.add_argument("--storage", metavar="URL", help="of the queue (default: a journal file)")
    cli.add_audio(parser)
    parser.add_argument("--name", help="of the study (default: variants, corpus, budget, digest)")
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
