"""One run from its config to its record: data, model, training, scores, tracking.

Trials and confirm runs of a study and single runs of `bench.train` all pass through `perform`.
"""

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.core.config import Resolved, to_dict
from bench.core.console import ProgressCallback
from bench.core.errors import LeaseLostError, UserError
from bench.core.memory import as_exhausted
from bench.core.paths import append_text, write_json
from bench.data.batches import Dataset, feasible_subset, thinned
from bench.data.corpora import load_corpus
from bench.data.store import open_store
from bench.data.utterance import SPLITS, Corpus
from bench.decoding import DECODERS
from bench.runs import RunIdentity, Tracker, TrackingTarget
from bench.runs.record import ORIGINS, TRAINED, read_json
from bench.training.checkpoint import load_model
from bench.training.config import RunConfig, build_model
from bench.training.device import resolve_device
from bench.training.evaluate import Evaluation, evaluate
from bench.training.loop import TrainingData, train
from bench.training.progress import Progress, TrainResult
from variants.cost import macs_per_second, num_parameters
from variants.spec import AcousticModel

MAX_WATCHED = 4
BEST = Path("checkpoints") / "best.pt"
OPENED = "test-opened.txt"
"""A line for each time that the run scored the test split."""


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
    data_digest: str
    open_test: bool
    """Whether the test split is scored, once, with the best checkpoint."""
    target: TrackingTarget

    @property
    def config(self) -> RunConfig:
        """What it is trained with."""
        return self.resolved.config

    def open_record(self) -> Tracker:
        """Begin its record, or go on with it.

        Raises:
            UserError: as `Tracker.open`.
        """
        write_json(self.folder / ORIGINS, {k: vars(o) for k, o in self.resolved.origins.items()})
        return Tracker.open(self.folder, self.identity, to_dict(self.config), self.target)


def perform(
    plan: RunPlan,
    report: Callable[[Progress], bool],
    *,
    killed: Callable[[], bool],
    pruned: Callable[[], bool],
    check_lease: Callable[[], None] = lambda: None,
) -> tuple[str, float | None]:
    """Train (or go on training) the plan's run and record it.

    `check_lease` is called before each log point, and before the end is written.

    Returns:
        How it ended ("finished", "cut", "pruned", "diverged", "killed"), and its best valid WER if
        it has one.

    Raises:
        ExhaustedError: the disk is full, or there is no memory left; the run goes on when it is
            performed again.
        LeaseLostError: another worker has the run; nothing more is written.
        UserError: the data are not those the study began with, or an utterance cannot be trained
        on.
    """
    tracker = plan.open_record()

    def log_and_report(progress: Progress) -> bool:
        check_lease()
        tracker.log(progress)
        return report(progress)

    # From here on every end is recorded: a run without a record would be begun again and again.
    try:
        device = resolve_device(plan.device)
        sets = datasets(_unchanged_corpus(plan), plan.config, plan.excluded)
        model = build_model(plan.config)
        trainable, _ = feasible_subset(sets["train"], model.output_lengths)
        data = TrainingData(train=trainable, valid=sets["valid"], watch=sets["watch"])
        result = train(
            plan.config,
            model,
            data,
            device=device,
            directory=plan.folder,
            report=log_and_report,
            before_save=tracker.sync,
        )
        stopped = "killed" if killed() else "pruned" if pruned() else None
        outcome = stopped or result.state
        metrics = _summary(result) | _costs(model, plan.config)
        # A run that diverged counts too, with what it could do before.
        has_best = (plan.folder / BEST).exists()
        if outcome in TRAINED or (outcome == "diverged" and plan.open_test and has_best):
            metrics |= _score(plan, sets, device, tracker)
        check_lease()
    except LeaseLostError:
        raise
    except Exception as error:
        if (exhausted := as_exhausted(error)) is not None:
            # No end of the run: it goes on from its last checkpoint once there is room.
            traceback.clear_frames(error.__traceback__)  # they hold the tensors
            tracker.close("killed")
            raise exhausted from None
        check_lease()
        tracker.close("failed", error_kind=type(error).__name__, error_message=str(error))
        raise
    tracker.close(outcome, metrics=metrics)
    return outcome, result.best.get("valid/wer")


def give_up(plan: RunPlan, reason: str) -> None:
    """Record a run that will not be tried again."""
    tracker = plan.open_record()
    tracker.close("failed", error_kind="crashed", error_message=reason)


def datasets(
    corpus: Corpus,
    config: RunConfig,
    excluded: Collection[str],
    progress: ProgressCallback | None = None,
) -> dict[str, Dataset]:
    """The splits of `corpus` as features, train thinned as `config` says, and under "watch" what is
    followed through the epochs."""
    store = open_store(corpus, config.features, progress=progress)
    utterances = {split: corpus.split(split) for split in SPLITS}
    utterances["train"] = thinned(utterances["train"], config.batches.train_share)
    sets = {
        split: Dataset((u for u in listed if u.id not in excluded), store)
        for split, listed in utterances.items()
    }
    if not sets["watch"].utterances:
        sets["watch"] = Dataset(
            _spread(sets["valid"] if len(sets["valid"]) else sets["train"]), store
        )
    return sets


def attempts_so_far(folder: Path) -> int:
    """How often the run in `folder` has been begun and was not stopped on request."""
    run, summary = _read(folder / "run.json"), _read(folder / "summary.json")
    attempts: int = run.get("attempt", 0)
    return attempts - 1 if summary.get("state") == "killed" else attempts


def is_recorded(folder: Path) -> bool:
    """True once the run in `folder` has ended for good."""
    return recorded_end(folder) is not None


def recorded_end(folder: Path) -> tuple[str, float | None] | None:
    """How the run in `folder` ended for good, and its best valid WER if it has one; None before
    that."""
    summary = _read(folder / "summary.json")
    state = summary.get("state")
    if state in (None, "killed", "running"):
        return None
    return state, summary.get("metrics", {}).get("best/valid/wer")


def _unchanged_corpus(plan: RunPlan) -> Corpus:
    corpus = load_corpus(plan.config.corpus)
    if corpus.digest != plan.data_digest:
        raise UserError(
            f"corpus {corpus.name} changed under the study: digest was {plan.data_digest}, is "
            f"{corpus.digest}; put the files back, or begin another study"
        )
    return corpus


def _spread(dataset: Dataset) -> tuple[Any, ...]:
    """A few utterances from short to long, the same for every run."""
    by_length = sorted(dataset.utterances, key=lambda u: (u.seconds, u.id))
    step = max(1, len(by_length) // MAX_WATCHED)
    return tuple(by_length[step // 2 :: step][:MAX_WATCHED])


def _score(
    plan: RunPlan, sets: dict[str, Dataset], device: torch.device, tracker: Tracker
) -> dict[str, float]:
    """Score the best checkpoint on valid and, where the plan says so, on test."""
    best, _ = load_model(plan.folder / BEST, device)
    metrics: dict[str, float] = {}
    for split in ("valid", "test") if plan.open_test else ("valid",):
        if not len(sets[split]):
            continue
        if split == "test":
            metrics["test/num_opened"] = _count_opening(plan.folder)
        evaluation = evaluate(best, sets[split], plan.config.batches, device, DECODERS["greedy"])
        tracker.log_scores(split, evaluation.scores)
        if split == "test":
            metrics |= _rates(evaluation)
    return metrics


def _rates(evaluation: Evaluation) -> dict[str, float]:
    totals = evaluation.totals
    return {"test/loss": evaluation.loss, "test/wer": totals.wer, "test/cer": totals.cer}


def _count_opening(folder: Path) -> int:
    """Write down that the test split is about to be scored; a run killed in between shows a second
    opening."""
    path = folder / OPENED
    count = len(path.read_text().splitlines()) + 1 if path.exists() else 1
    append_text(path, f"{count}\n")
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


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) or {}
    except UserError:  # damaged: the run is done again
        return {}
