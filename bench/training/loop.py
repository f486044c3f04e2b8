"""The training loop: one straight function, independent of the search and of tracking.

The state of a run is the weights, their moving average, the optimizer and `LoopState`; nothing
else. All random numbers come from generators seeded by run seed and step (bench.core.seeding), and
the batches of an epoch are a function of run seed and epoch. So a run that was killed and resumed
has the same numbers as one that was not.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from bench.core.config import digest
from bench.core.errors import UserError
from bench.core.seeding import seed_torch
from bench.data.batches import Dataset, epoch_order, feasible_subset
from bench.data.features import CorpusStats
from bench.data.resident import resident_features
from bench.data.units import Units
from bench.training import capture, checkpoint
from bench.training.clocks import Clocks
from bench.training.config import RunConfig
from bench.training.device import (
    deterministic,
    exact_float32,
    keep_freed_memory,
    peak_memory_bytes,
)
from bench.training.evaluate import evaluate
from bench.training.follower import Job
from bench.training.inputs import InputPlan
from bench.training.memory import is_out_of_memory, release
from bench.training.optim import learning_rate_at, restore_optimizer
from bench.training.progress import Progress, TrainResult, WatchTranscript
from bench.training.ranks import Ranks
from bench.training.retry import prepare_retry
from bench.training.shapes import plan_shapes
from bench.training.state import LoopState, read_window
from bench.training.step import Trained, train_step
from variants.ops import paths
from variants.spec import AcousticModel

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The datasets of a run: for training, for choosing the best checkpoint, for watching."""

    train: Dataset
    valid: Dataset
    watch: Dataset

    @property
    def digest(self) -> str:
        """Identifies the utterances, their order, their features and the units of their labels."""
        sets = (self.train, self.valid, self.watch)
        held = [[d.store.digest, *(u.id for u in d.utterances)] for d in sets]
        return digest([self.train.units.digest, *held])


def train(
    config: RunConfig,
    model: AcousticModel,
    data: TrainingData,
    *,
    device: torch.device,
    directory: Path,
    report: Callable[[Progress], bool],
    before_save: Callable[[], None] = lambda: None,
    precision: torch.dtype | None = None,
    num_ranks: int = 1,
) -> TrainResult:
    """Train `model`, or resume from ``directory/checkpoints/last.pt``, or from the checkpoint
    before that one if it is damaged.

    If the device's memory runs out, the run resumes from its last checkpoint. On a GPU with other
    processes it first retries once from there without changes; otherwise, and the next time, the
    number of micro-batches is doubled, once.

    Args:
        config: of the run.
        model: as `build_model` returns it for `config`; moved to `device` and trained in place.
        data: the network must have as many output frames as CTC needs for each text in train.
        device: where to compute.
        directory: of the run; its folder "checkpoints" gets "last.pt" and "best.pt".
        report: called with the progress; returns True to stop the run at this step.
        before_save: called before each write of "last.pt". Progress reported before is not reported
            again after a resume, so it should be durable when this returns.
        precision: of the network's arithmetic; None: the device's default.
        num_ranks: processes that divide each batch, see bench.training.ranks; on CUDA each has one
            of the GPUs that this process sees, and this one the first.

    Raises:
        UserError: an empty split, an utterance too short for its text, a checkpoint in `directory`
            of another config or other data.
        UnwritableError: the disk is full; the last checkpoint stays.
        torch.OutOfMemoryError: memory ran out with twice the micro-batches, too.
        RankFailedError, RankDiedError: another rank met an error, or its process ended.
    """
    if device.type == "cpu":
        keep_freed_memory()
    retried_at: int | None = None
    attempt = partial(
        _train, config, model, data, device, directory, report, before_save, precision
    )
    with deterministic(config.training.deterministic), exact_float32():
        while True:
            try:
                with Ranks(num_ranks, device) as ranks:
                    return attempt(ranks)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                _logger.info("out of memory", exc_info=True)
                reason = str(error)
            # Here, not in the except block: there the error's traceback would keep every tensor
            # alive.
            model.zero_grad(set_to_none=True)
            release()
            retried_at = prepare_retry(directory, config, retried_at, device, reason)


def _train(
    config: RunConfig,
    model: AcousticModel,
    data: TrainingData,
    device: torch.device,
    directory: Path,
    report: Callable[[Progress], bool],
    before_save: Callable[[], None],
    precision: torch.dtype | None,
    ranks: Ranks,
) -> TrainResult:
    # 1. Set up, or resume from the last checkpoint.
    _check_data(data, model)
    settings = config.training
    last, best = (directory / "checkpoints" / name for name in ("last.pt", "best.pt"))
    trained = Trained.of(config, model.to(device), device, precision)
    state = _resume(last, best, data, trained)
    order_of = partial(epoch_order, data.train, config.batches, seed=config.seed)
    sizes = [len(order_of(epoch=epoch)) for epoch in range(settings.num_epochs)]
    num_steps = sum(sizes)
    job = Job(
        dataset=data.train,
        last=last,
        num_steps=num_steps,
        num_ranks=ranks.num_ranks,
        num_threads=torch.get_num_threads(),
        device=device,
        precision=trained.precision,
    )
    features = resident_features(data.train, device)
    trained = replace(trained, replica=ranks.gather(model, job), features=features)
    captures = capture.is_wanted(device) and ranks.num_ranks == 1
    step = ranks.stepping(capture.captured_steps() if captures else train_step)
    clocks = Clocks(state.seconds, device)
    if device.type == "cuda":
        paths.note(paths.FEATURES, "resident" if features else "copied each step")
        paths.note(paths.STEPS, capture.CAPTURED if captures else capture.EAGER)
    saved_at = clocks.total
    plan = InputPlan(
        config=config,
        dataset=data.train,
        output_lengths=model.output_lengths,
        num_steps=num_steps,
        num_micro_batches=state.num_micro_batches,
        device=device,
        shapes=plan_shapes(data.train, config, model.output_lengths) if captures else None,
        are_resident=features is not None,
        num_ranks=ranks.num_ranks,
    )
    batches = plan.from_step(state.step, epoch=state.epoch, batch=state.batch)
    stop = False
    while state.outcome is None and not stop:
        # 2. A batch with all that a step reads, made in the background; copied without waiting.
        with clocks("data"):
            inputs = next(batches).to(device)

        # 3. A step. The host does not wait for it either.
        seed_torch(inputs.dropout_seed, device)
        state.window.append(step(trained, inputs, clocks))
        state.audio_seconds += data.train.seconds_of(inputs.indices)
        state.step, state.batch = state.step + 1, state.batch + 1

        # 4. Read the losses of the steps since the last time: every few steps, and at the end of an
        # epoch or of the time allowed.
        epoch = state.epoch + state.batch / sizes[state.epoch]
        epoch_ends = state.batch == sizes[state.epoch]
        cap = settings.max_train_seconds
        out_of_time = cap is not None and clocks.computed >= cap
        metrics: dict[str, float] = {}
        if epoch_ends or out_of_time or state.step % settings.log_every_steps == 0:
            learning_rate = learning_rate_at(state.step - 1, num_steps, config.optim)
            metrics = {"epoch": epoch, "train/learning_rate": learning_rate}
            metrics |= read_window(state, clocks, data.train, order_of)
            ranks.check()

        # 5. At the end of an epoch, evaluate, and save the weights if they are the best so far.
        if epoch_ends:
            state.epoch, state.batch = state.epoch + 1, 0
        over = out_of_time or state.epoch == settings.num_epochs
        due = epoch_ends and state.epoch % settings.eval_every_epochs == 0
        # Not one that has just diverged (read_window): its weights are no better than the last
        # ones.
        evaluated = (due or over) and state.outcome is None
        watch: tuple[WatchTranscript, ...] = ()
        if evaluated:
            with clocks("evaluation"):
                state.final, watch = _evaluate(data, trained)
            metrics |= state.final
            if _is_better(state.final, state.best):
                state.best, state.best_epoch = state.final, math.ceil(epoch)
                with clocks("checkpoint"):
                    checkpoint.save(best, config, trained.average.model, *_inputs(data))
            patience = settings.patience or math.inf
            # The last epoch first: a run that also runs out of time there is whole, not cut.
            if state.epoch == settings.num_epochs or state.epoch - state.best_epoch >= patience:
                state.outcome = "finished"
            elif out_of_time:
                state.outcome = "cut"

        # 6. Report, then save: progress reported after the last save is reported again on resume.
        if metrics:
            progress = Progress(
                step=state.step,
                epoch=epoch,
                num_epochs=settings.num_epochs,
                seconds=clocks.computed,
                metrics=metrics,
                evaluated=evaluated,
                is_last=state.outcome is not None,
                watch=watch,
            )
            with clocks("report"):
                stop = report(progress)
        waited = clocks.total - saved_at >= settings.checkpoint_every_seconds
        if waited or evaluated or stop or state.outcome:
            state.peak_memory_bytes = max(state.peak_memory_bytes, peak_memory_bytes(device))
            with clocks("checkpoint"):
                ranks.check()
                before_save()
                _save_last(last, data, trained, state)
            saved_at = clocks.total
    return _result(state, clocks, best)


def _check_data(data: TrainingData, model: AcousticModel) -> None:
    """Refuse an empty train split, and utterances whose CTC loss would be infinite."""
    if not len(data.train):
        raise UserError("training needs utterances in split 'train', got none; add some")

    _, left_out = feasible_subset(data.train, model.output_lengths)
    if left_out:
        first = left_out[0]
        raise UserError(
            f"train utterance {first.id!r} cannot be learned by this network: {first.reason}; "
            "leave it out, or take a smaller time stride"
        )


def _resume(last: Path, best: Path, data: TrainingData, trained: Trained) -> LoopState:
    """Load the newest undamaged checkpoint into model, average and optimizer; without one, save a
    checkpoint of step 0."""
    config = trained.config
    content = checkpoint.newest_whole(last, best, trained.device)
    if content is None:
        state = LoopState(num_micro_batches=config.training.num_micro_batches)
        _save_last(last, data, trained, state)
        return state
    checkpoint.check_same_run(last, content, config, data.digest)
    checkpoint.load_weights(last, content, config, trained.model)
    if config.training.average_decay:
        checkpoint.load_weights(last, content, config, trained.average.model, "average")
    restore_optimizer(trained.optimizer, content["optimizer"])
    return LoopState(**content["loop"])


def _save_last(path: Path, data: TrainingData, trained: Trained, state: LoopState) -> None:
    """The inverse of `_resume`."""
    resuming = {
        "data": data.digest,
        "optimizer": trained.optimizer.state_dict(),
        "loop": asdict(state),
        **trained.average.state(),
    }
    stats, units = _inputs(data)
    checkpoint.save(path, trained.config, trained.model, stats, units, **resuming)


def _inputs(data: TrainingData) -> tuple[CorpusStats | None, Units]:
    """What a checkpoint holds of the data."""
    return data.train.store.stats, data.train.units


def _evaluate(
    data: TrainingData, trained: Trained
) -> tuple[dict[str, float], tuple[WatchTranscript, ...]]:
    """Metrics on valid ({} without such a split), and the transcripts of the watch utterances."""
    given = trained.config.batches, trained.device
    score = partial(evaluate, trained.average.model, precision=trained.precision)
    metrics = {}
    if len(data.valid):
        valid = score(data.valid, *given)
        metrics = {
            "valid/loss": valid.loss,
            "valid/wer": valid.totals.wer,
            "valid/cer": valid.totals.cer,
            "valid/blank_share": valid.blank_share,
            "valid/empty_share": valid.empty_share,
        }
    if not len(data.watch):
        return metrics, ()
    watched = score(data.watch, *given).scores
    return metrics, tuple(WatchTranscript(id=s.id, ref=s.ref, hyp=s.hyp) for s in watched)


def _is_better(new: dict[str, float], best: dict[str, float]) -> bool:
    """Compare by WER, then by CER; equal in both is not better. Without a valid split the newest
    weights count as the best."""
    keys = ("valid/wer", "valid/cer")
    return not best or [new[key] for key in keys] < [best[key] for key in keys]


def _result(state: LoopState, clocks: Clocks, best_checkpoint: Path) -> TrainResult:
    return TrainResult(
        state=state.outcome or "stopped",
        best_epoch=state.best_epoch,
        best=state.best,
        final=state.final,
        num_steps=state.step,
        num_epochs=state.epoch + (state.batch > 0),
        train_seconds=clocks.computed,
        seconds=clocks.by_phase,
        audio_seconds_per_second=state.audio_seconds / clocks.train,
        peak_memory_bytes=state.peak_memory_bytes,
        num_nonfinite=state.num_nonfinite,
        num_micro_batches=state.num_micro_batches,
        best_checkpoint=best_checkpoint,
    )
