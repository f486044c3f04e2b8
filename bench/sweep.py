"""Search, confirm and compare variants, or the systems of a study, under one budget."""

from bench.core import cli
from bench.flags.sweep import build_parser

if __name__ == "__main__":
    cli.start("sweep", build_parser())  # before the imports below: they take seconds

import argparse
import logging
import signal
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TypedDict

from bench.core.console import STDOUT, counting
from bench.core.errors import NoVerdictError, TemporaryError, UserError
from bench.core.lookup import check_name
from bench.core.masking import mask
from bench.core.paths import OUT
from bench.data.batches import feasible_subset
from bench.data.corpora import load_corpus, require_splits
from bench.data.utterance import Corpus
from bench.decoding.beam import (
    BeamConfig,
    BeamSearch,
    is_installed,
    require_installed,
)
from bench.decoding.language_model import LmConfig, language_model
from bench.queue.storage import (
    QueueStorage,
    check_queue,
    check_shared,
    dashboard_address,
)
from bench.results.comparison import StudyComparison
from bench.results.index import write_index
from bench.results.looks import look_sentence, next_look
from bench.results.planned import without_verdict
from bench.results.printing import print_result
from bench.results.publish import publish
from bench.results.report_input import REPORT_FILE, gather
from bench.results.search import narrow_systems
from bench.runs import StudyTracker, flush_unsent, tracking_uri
from bench.runs.run import datasets
from bench.study.decoding import FOLDER, WATCH_FILE, decode_study, hear_watch, plan_decoding
from bench.study.definition import StudyDefinition, begin_or_return
from bench.study.request import beam_search_of, conditions_of, decoders_of, definition_of
from bench.study.robustness import plan_conditions, score_under_conditions
from bench.study.rounds import budget_sentence, read_looks, study_tags
from bench.training.config import build_model, check_training_memory
from bench.training.device import resolve_device
from bench.workers.engine import Engine, share_host
from bench.workers.launcher import Launcher
from bench.workers.ray_engine import join_cluster
from reports.build import build
from reports.input import ReportInput
from reports.sections.verdict import cautions

_logger = logging.getLogger("bench.sweep")  # run with -m, __name__ is "__main__"


class SweepResult(TypedDict):
    """What ``--json`` prints."""

    study: str
    report: str
    tracking_uri: str
    model: str | None
    """The address of the registered model's version, where one was asked for."""
    verdict: str
    second: dict[str, object] | None
    """What the decoding with a language model says, where there was one."""
    conditions: dict[str, object] | None
    """What the test conditions say, where there were some."""
    systems: list[dict[str, object]]
    cautions: list[str]


def main(options: argparse.Namespace) -> None:
    """Run the sweep that `options` describe, or join a running one; write the report, print the
    verdict."""
    stop = _StopSignal()
    _warn_of_password(options.storage)
    tracking_uri()  # refused here, before hours of work, if it is no address
    if options.register is not None:
        _check_model_name(options.register)
    device = resolve_device(options.device).type
    definition = definition_of(options, device)
    with_beam, conditions = "beam" in decoders_of(options), conditions_of(options)
    if with_beam:
        require_installed()
    if options.dry_run:
        STDOUT.print(f"{definition.name}: {budget_sentence(definition)}", markup=False)
        return
    for label in definition.systems:
        check_training_memory(definition.base_config(label), device)
    folder = OUT / definition.name
    with closing(make_engine(options, device)) as engine:
        count = engine.num_workers
        check_shared(options.storage, count)
        corpus, definition = _with_data(definition)
        # Before hours of work: a language model that cannot be read is an error now.
        search = beam_search_of(options, corpus) if with_beam else None
        if search is not None:
            for label in definition.systems:
                search.check(definition.base_config(label).units)
        _logger.info("study %s, %d workers, device %s", definition.name, count, device)
        _logger.info("%s", budget_sentence(definition))
        with closing(QueueStorage(options.storage, folder, num_workers=count)) as storage:
            comparison, report_input, result = _sweep(
                options, definition, corpus, search, conditions, storage, engine, stop
            )
    if options.json:
        cli.print_json(result)
    else:
        searches = dashboard_address(options.storage, folder)
        print_result(comparison, report_input, corpus, result["report"], searches, result["model"])
    if sentence := without_verdict(definition.systems, report_input.runs):
        raise NoVerdictError(sentence)


def _sweep(
    options: argparse.Namespace,
    definition: StudyDefinition,
    corpus: Corpus,
    search: BeamSearch | None,
    conditions: str,
    storage: QueueStorage,
    engine: Engine,
    stop: "_StopSignal",
) -> tuple[StudyComparison, ReportInput, SweepResult]:
    """Prepare the study, run its slots, write the report; returns what ``--json`` prints too."""
    folder = OUT / definition.name
    # One launcher prepares; others of the same study wait, and find all of it done.
    with storage.exclusive_lease(grace_seconds=options.grace):
        begin_or_return(folder, definition)
        check_queue(folder, options.storage)
        if search is not None:
            plan_decoding(folder, definition, search.model, search.config)
        if conditions:
            plan_conditions(folder, definition, conditions)
        tracker = StudyTracker.open(definition.name, data_digest=definition.data_digest)
        if tracker.reaches_store():
            flush_unsent(folder)
        parents = {label: tracker.parent(label) for label in definition.systems}
    launcher = Launcher(
        folder,
        definition,
        storage,
        engine,
        storage_url=options.storage,
        grace_seconds=options.grace,
        parents=parents,
    )
    try:
        while not _round_is_last(folder, launcher, definition, storage, tracker, options, stop):
            pass
    except BaseException as error:
        # Other launchers go on with the study, which has not stopped then.
        if not launcher.has_company():
            is_stop = isinstance(error, KeyboardInterrupt | TemporaryError)
            tracker.stop("killed" if is_stop else "failed")
        raise

    # Again one at a time: who comes second finds the transcripts and the summaries there.
    with storage.exclusive_lease(grace_seconds=options.grace):
        _decode_again(folder, definition, corpus, search)
        if conditions:
            score_under_conditions(folder, definition, corpus, conditions)
        report_input, comparison = gather(folder, audio=options.recordings)
        report = build(report_input, folder / REPORT_FILE)
        write_index()
        if tracker.reaches_store():
            flush_unsent(folder)
        publish(tracker, folder, report_input, comparison)
        model = tracker.register(options.register) if options.register else None
    result = _as_json(definition, comparison, report_input, report, tracker.tracking_uri, model)
    return comparison, report_input, result


def _decode_again(
    folder: Path, definition: StudyDefinition, corpus: Corpus, search: BeamSearch | None
) -> None:
    """Decode the confirm runs with `search`, and read the watch utterances with it or, where the
    user asked for none, with one of the training transcripts."""
    device = resolve_device(definition.device)
    if search is not None:
        plan = plan_decoding(folder, definition, search.model, search.config)
        with counting("decoding with the language model") as progress:
            decode_study(folder, definition, corpus, search, plan, device, progress)
    elif (folder / FOLDER / WATCH_FILE).exists():
        return
    elif corpus.split("watch") and is_installed():
        texts = ((u.text for u in corpus.split(split)) for split in ("train", "valid"))
        search = BeamSearch(BeamConfig(), language_model(LmConfig(), *texts))
    hear_watch(folder, definition, corpus, search, device)


def _round_is_last(
    folder: Path,
    launcher: Launcher,
    definition: StudyDefinition,
    storage: QueueStorage,
    tracker: StudyTracker,
    options: argparse.Namespace,
    stop: "_StopSignal",
) -> bool:
    """Run a round, and take the look that ends it unless another launcher has; whether no further
    round follows."""
    launcher.run(stop.check)
    num_before = len(read_looks(folder))
    with storage.exclusive_lease(grace_seconds=options.grace):
        look = next_look(folder, definition)
    if definition.plan is None:
        return True
    if look is not None and look.number > num_before:
        _logger.info("%s", look_sentence(look, narrow_systems(definition, folder)))
        tracker.tell_round(study_tags(definition, read_looks(folder)))
    return look is not None and look.is_last


def make_engine(options: argparse.Namespace, device: str) -> Engine:
    """The engine that starts the workers.

    Raises:
        UserError: as `share_host` or `join_cluster`.
    """
    gpus = tuple(filter(None, (options.gpus or "").split(",")))
    if options.engine == "ray":
        if options.num_ranks > 1:
            raise UserError(
                f"--gpus-per-run divides a run among GPUs of this machine, got {options.num_ranks} "
                "with --engine ray; leave it out: Ray runs several at once"
            )
        return join_cluster(
            options.address,
            options.workers,
            device,
            gpus=gpus,
            per_gpu=options.per_gpu,
            storage_url=options.storage,
        )
    if options.address is not None:
        raise UserError(
            f"--address is of a Ray cluster, got {options.address!r} without --engine ray; name "
            "both or neither"
        )
    return share_host(
        options.workers, device, gpus=gpus, per_gpu=options.per_gpu, num_ranks=options.num_ranks
    )


def _with_data(definition: StudyDefinition) -> tuple[Corpus, StudyDefinition]:
    """Load the corpus and build its features; returns the corpus, and the definition with the
    corpus's digest and the ids of utterances left out."""
    with counting(f"corpus {definition.corpus.title}") as progress:
        corpus = load_corpus(definition.corpus, progress=progress)
    require_splits(corpus, ("train", "valid", "test"), "a study")
    excluded = _common_subset(corpus, definition)
    return corpus, replace(definition, data_digest=corpus.digest, excluded=excluded)


def _common_subset(corpus: Corpus, definition: StudyDefinition) -> tuple[str, ...]:
    """Build each system's features; returns the ids of utterances for which some system has fewer
    output frames than CTC needs."""
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


def _as_json(
    definition: StudyDefinition,
    comparison: StudyComparison,
    report_input: ReportInput,
    report: Path,
    uri: str,
    model: str | None,
) -> SweepResult:
    systems: list[dict[str, object]] = [
        {
            "name": row["system"],
            "test_wer_mean": _number(row["wer_mean"]),
            "test_wer_low": _number(row["wer_low"]),
            "test_wer_high": _number(row["wer_high"]),
            "test_cer_mean": _number(row["cer_mean"]),
            "num_trials": int(row["num_trials"]),
            "num_seeds": int(row["num_seeds"]),
            "train_seconds": _number(row["search_seconds"] + row["train_seconds"]),
        }
        for row in comparison.systems.to_dict("records")
    ]
    return {
        "study": definition.name,
        "report": str(report),
        "tracking_uri": uri,
        "model": model,
        "verdict": comparison.verdict,
        "second": None if report_input.second is None else asdict(report_input.second),
        "conditions": None if report_input.robustness is None else asdict(report_input.robustness),
        "systems": systems,
        "cautions": list(cautions(report_input)),
    }


def _number(value: float) -> float | None:
    """`value`, or None for NaN, which JSON lacks."""
    return None if value != value else float(value)


def _check_model_name(name: str) -> None:
    try:
        check_name(name, "a registered model")
    except ValueError as error:
        raise UserError(f"--register: {error}") from error


def _warn_of_password(storage_url: str | None) -> None:
    if storage_url and mask(storage_url) != storage_url:
        _logger.warning(
            "ps shows the password in --storage to everyone on this machine; leave it out there "
            "and put it into ~/.pgpass or PGPASSWORD"
        )


class _StopSignal:
    """Stops the program on SIGTERM: by an exception in the signal handler, and, if a library (a
    database driver, an HTTP client) has caught that one, by the launcher's next call of `check`."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def check(self) -> None:
        """Return if no SIGTERM has come.

        Raises:
            TemporaryError: SIGTERM has come.
        """
        if self._asked:
            raise TemporaryError("stopped by SIGTERM; the same command goes on from there")

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt stopping
        self._asked = True
        self.check()
