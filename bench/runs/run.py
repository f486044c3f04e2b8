"""One run from its config to its record: data, model, training, scores, tracking.

Trials and confirm runs of a study and single runs of `bench.train` all pass through `execute_run`.
"""

import logging
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.core.config import Resolved, to_dict
from bench.core.console import ProgressCallback
from bench.core.errors import ExhaustedError, LeaseLostError, UserError
from bench.core.files import append_text, write_json
from bench.core.memory import as_exhausted
from bench.core.nvml import Gpu
from bench.data.batches import Dataset, feasible_subset, thinned
from bench.data.corpora import load_corpus
from bench.data.store import open_store
from bench.data.units import Units, units_of
from bench.data.utterance import SPLITS, Corpus, Utterance
from bench.runs import RunIdentity, Tracker, TrackingTarget
from bench.runs.device_use import DeviceUse, gpu_facts, gpus_of_run
from bench.runs.layout import BEST, LAST, OPENED, ORIGINS, PATHS, RUN, UNITS, read_run
from bench.runs.state import STOPPED, TRAINED, RunEnd, State, read_state
from bench.training.checkpoint import before, load, load_model
from bench.training.config import RunConfig, build_model
from bench.training.device import resolve_device
from bench.training.evaluate import evaluate
from bench.training.loop import TrainingData, train
from bench.training.outside import OUTSIDE, VARIANT_RECORD, record
from bench.training.progress import Progress, TrainResult
from bench.training.ranks import RankDiedError
from variants.cost import macs_per_second, num_parameters
from variants.ops import paths
from variants.spec import AcousticModel

MAX_WATCHED = 4

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Everything that a run needs to know; its folder is its memory."""

    identity: RunIdentity
    resolved: Resolved[RunConfig]
    """What it is trained with, and what set each value."""
    folder: Path
    excluded: frozenset[str]
    """Ids of utterances that no system of the study sees."""
    device: str
    target: TrackingTarget

    @property
    def config(self) -> RunConfig:
        """What it is trained with."""
        return self.resolved.config

    @property
    def open_test(self) -> bool:
        """Whether the test split is scored, once, with the best checkpoint."""
        return self.identity.kind == "confirm"

    def open_record(self) -> Tracker:
        """Begin its record, or go on with it.

        Raises:
            UserError: as `Tracker.open`.
        """
        write_json(self.folder / ORIGINS, {k: vars(o) for k, o in self.resolved.origins.items()})
        if source := OUTSIDE.get(self.config.variant):
            record(source, self.folder, VARIANT_RECORD)
        config, facts = to_dict(self.config), gpu_facts(self.gpus)
        return Tracker.open(self.folder, self.identity, config, self.target, facts)

    @property
    def gpus(self) -> Sequence[Gpu]:
        """Those that it is trained on, as far as NVML knows them."""
        return gpus_of_run(self.device, self.identity.num_ranks)


def execute_run(
    plan: RunPlan,
    report: Callable[[Progress], State | None],
    *,
    check_lease: Callable[[], None] = lambda: None,
) -> RunEnd:
    """Train (or resume) the plan's run and record it.

    Args:
        plan: the run.
        report: called with the progress after each step; returns KILLED, PAUSED or PRUNED to end
            the run so at its next checkpoint, None to continue.
        check_lease: called before each log point, and before the end is written.

    Returns:
        Its end: finished, cut, pruned, diverged, killed or paused.

    Raises:
        ExhaustedError: the disk is full, or there is no memory left; the run is resumed by the next
            call.
        LeaseLostError: another worker has the run; nothing more is written.
        RankDiedError: a process of a run on several devices is gone; the next call is an attempt.
        UserError: the data are not those the study began with, or an utterance cannot be trained
        on.
    """
    tracker = plan.open_record()
    stopped: State | None = None

    def log_and_report(progress: Progress) -> bool:
        nonlocal stopped
        check_lease()
        tracker.record.append(replace(progress, metrics=progress.metrics | use.due()))
        stopped = report(progress)
        return stopped is not None

    # From here on every end is recorded: a run without a record would be begun again and again.
    try:
        device, use = resolve_device(plan.device), DeviceUse(plan.gpus)
        corpus, model = _unchanged_corpus(plan), build_model(plan.config)
        data = _training_data(plan, corpus, model)
        paths.forget()
        result = train(
            plan.config,
            model,
            data,
            device=device,
            directory=plan.folder,
            report=log_and_report,
            before_save=tracker.record.sync,
            num_ranks=plan.identity.num_ranks,
        )
        write_json(plan.folder / PATHS, paths.taken())
        # The loop only knows that it was asked to stop; what was asked for says why.
        state = stopped or State(result.state)
        metrics = _summary(result) | _costs(model, plan.config)
        metrics |= use.summary(sum(result.seconds.values()))
        if state in TRAINED:
            metrics |= _score(plan, corpus, device, tracker, BEST)
        elif state == State.DIVERGED:
            metrics |= _score_last(plan, tracker)
        check_lease()
    except (LeaseLostError, RankDiedError):  # the attempt ends as by a crash, the run does not
        raise
    except Exception as error:
        if (exhausted := as_exhausted(error)) is not None:
            # No end of the run: it goes on from its last checkpoint once there is room.
            traceback.clear_frames(error.__traceback__)  # they hold the tensors
            tracker.close(State.KILLED)
            raise exhausted from None
        check_lease()
        traceback.clear_frames(error.__traceback__)
        _close_failed(plan, tracker, type(error).__name__, str(error), check_lease)
        raise
    tracker.close(state, metrics=metrics)
    return RunEnd(state, result.best.get("valid/wer"), result.num_epochs)


def _training_data(plan: RunPlan, corpus: Corpus, model: AcousticModel) -> TrainingData:
    """What the plan's run is trained on; its units are recorded, unless they are letters."""
    sets = datasets(corpus, plan.config, plan.excluded)
    units = sets["train"].units
    if not units.are_letters:
        write_json(plan.folder / UNITS, {"digest": units.digest, "symbols": units.symbols})
    trainable, _ = feasible_subset(sets["train"], model.output_lengths)
    return TrainingData(train=trainable, valid=sets["valid"], watch=sets["watch"])


def give_up(
    plan: RunPlan, reason: str, *, may_score: bool, check_lease: Callable[[], None] = lambda: None
) -> RunEnd:
    """Record a run that will not be tried again, `may_score` with its last checkpoint.

    Raises:
        ExhaustedError: there is no room to score it; the next call tries again.
    """
    tracker = plan.open_record()
    if may_score:
        _close_failed(plan, tracker, "crashed", reason, check_lease)
    else:
        tracker.close(State.FAILED, error_kind="crashed", error_message=reason)
    return RunEnd(State.FAILED, None)


def _close_failed(
    plan: RunPlan, tracker: Tracker, kind: str, message: str, check_lease: Callable[[], None]
) -> None:
    """Record that the run failed, scored with what it had learned."""
    try:
        metrics = _score_last(plan, tracker)
    except ExhaustedError:
        tracker.close(State.KILLED)
        raise
    check_lease()
    tracker.close(State.FAILED, metrics=metrics, error_kind=kind, error_message=message)


def _score_last(plan: RunPlan, tracker: Tracker) -> dict[str, float]:
    """Score a confirm run that ended badly with its last finite checkpoint, as every planned run
    counts; {} if it left none that can be scored.

    Raises:
        ExhaustedError: the disk is full, or there is no memory.
    """
    if not plan.open_test:
        return {}
    try:
        device = resolve_device(plan.device)
        checkpoint = last_finite(plan.folder, device)
        if checkpoint is None:
            return {}
        return _score(plan, _unchanged_corpus(plan), device, tracker, checkpoint)
    except Exception as error:
        if (exhausted := as_exhausted(error)) is not None:
            raise exhausted from None
        _logger.warning("%s: its last checkpoint cannot be scored (%s)", plan.folder, error)
        return {}


def last_finite(folder: Path, device: torch.device) -> Path | None:
    """The checkpoint of the run in `folder` that is scored if it ended badly: the one chosen on
    valid, else the last after a training step; None without one whose weights are finite."""
    # `best.pt` was chosen on valid. The last one may hold weights that diverged already, or, at
    # step 0, weights that were never trained.
    for path in (BEST, LAST, before(LAST)):
        if not (folder / path).exists():
            continue
        try:
            content = load(folder / path, device)
        except UserError as error:
            _logger.warning("%s", error)
            continue
        is_trained = path == BEST or content.get("loop", {}).get("step", 0) > 0
        weights = (w for w in content["model"].values() if isinstance(w, torch.Tensor))
        if is_trained and all(bool(w.isfinite().all()) for w in weights):
            return path
    return None


def datasets(
    corpus: Corpus,
    config: RunConfig,
    excluded: Collection[str],
    progress: ProgressCallback | None = None,
    units: Units | None = None,
) -> dict[str, Dataset]:
    """The splits of `corpus` as features, train thinned as `config` says, and under "watch" what is
    followed through the epochs.

    The labels are in `units`, those of a checkpoint; without them in those that `config` asks for,
    of the thinned train split. What is `excluded` may depend on the units, so they do not on it.
    """
    utterances = {split: corpus.split(split) for split in SPLITS}
    utterances["train"] = thinned(utterances["train"], config.batches.train_share)
    if units is None:
        units = units_of(config.units, (u.text for u in utterances["train"]))
    store = open_store(corpus, config.features, progress=progress)
    sets = {
        split: Dataset((u for u in listed if u.id not in excluded), store, units)
        for split, listed in utterances.items()
    }
    if not sets["watch"].utterances:
        spread = _spread(sets["valid"] if len(sets["valid"]) else sets["train"])
        sets["watch"] = Dataset(spread, store, units)
    return sets


def attempts_so_far(folder: Path) -> int:
    """How often the run in `folder` has been begun and was not stopped on request."""
    try:
        attempts = read_run(folder)["attempt"] if (folder / RUN).exists() else 0
    except UserError:  # damaged: the run is done again
        return 0
    return attempts - 1 if read_state(folder) in STOPPED else attempts


def _unchanged_corpus(plan: RunPlan) -> Corpus:
    corpus = load_corpus(plan.config.corpus)
    if corpus.digest != plan.identity.data_digest:
        raise UserError(
            f"corpus {corpus.name} changed under the study: digest was "
            f"{plan.identity.data_digest}, is {corpus.digest}; put the files back, or begin "
            "another study"
        )
    return corpus


def _spread(dataset: Dataset) -> tuple[Utterance, ...]:
    """A few utterances from short to long, the same for every run."""
    # The middle one of each of MAX_WATCHED parts of equal number.
    by_length = sorted(dataset.utterances, key=lambda u: (u.seconds, u.id))
    step = max(1, len(by_length) // MAX_WATCHED)
    return tuple(by_length[step // 2 :: step][:MAX_WATCHED])


def _score(
    plan: RunPlan,
    corpus: Corpus,
    device: torch.device,
    tracker: Tracker,
    checkpoint: Path,
) -> dict[str, float]:
    """Score `checkpoint`, relative to the run's folder, on valid and, where the plan says so, on
    test."""
    best = load_model(plan.folder / checkpoint, device)
    sets = datasets(corpus, plan.config, plan.excluded, units=best.units)
    metrics: dict[str, float] = {}
    for split in ("valid", "test") if plan.open_test else ("valid",):
        if not len(sets[split]):
            continue
        if split == "test":
            metrics["test/num_opened"] = count_opening(plan.folder)
        evaluation = evaluate(best.network, sets[split], plan.config.batches, device)
        tracker.record.write_scores(split, evaluation.scores)
        if split == "test":
            wer, cer = evaluation.totals.wer, evaluation.totals.cer
            metrics |= {"test/loss": evaluation.loss, "test/wer": wer, "test/cer": cer}
    return metrics


def count_opening(folder: Path, decoder: str = "greedy") -> int:
    """Write down that the test split is about to be scored with `decoder`; a run killed in between
    shows a second opening. Returns how often it was opened with this decoder."""
    path = folder / OPENED
    # A line is the number of the opening, and of another decoder than greedy its name: "2 beam".
    lines = path.read_text().splitlines() if path.exists() else []
    name = "" if decoder == "greedy" else f" {decoder}"
    count = 1 + sum(line.partition(" ")[2] == name.strip() for line in lines)
    append_text(path, f"{count}{name}\n")
    return count


def _summary(result: TrainResult) -> dict[str, float]:
    return {
        **{f"best/{name}": value for name, value in result.best.items()},
        **{f"final/{name}": value for name, value in result.final.items()},
        "best/epoch": result.best_epoch,
        "num_epochs": result.num_epochs,
        "num_steps": result.num_steps,
        "num_nonfinite": result.num_nonfinite,
        "num_micro_batches": result.num_micro_batches,
        "train_seconds": result.train_seconds,
        "evaluation_seconds": result.seconds.get("evaluation", 0.0),
        "checkpoint_seconds": result.seconds.get("checkpoint", 0.0),
        "audio_seconds_per_second": result.audio_seconds_per_second,
        "peak_memory_bytes": result.peak_memory_bytes,
    }


def _costs(model: AcousticModel, config: RunConfig) -> dict[str, float]:
    features = config.features
    return {
        "num_parameters": num_parameters(model),
        "macs_per_second_of_audio": macs_per_second(
            model, features.num_bins, features.frames_per_second
        ),
    }
