"""The training loop: one straight function, which knows neither the search nor the tracking.

Legend: B rows of a batch, T frames, F feature bins, U output frames, V symbols. A row is an
utterance, or one of two views of it that lie next to each other (see bench.training.consistency).

Nothing of a run lives anywhere but in the weights and their average, the optimizer and `LoopState`:
all randomness is drawn from generators that depend on seed and step alone (bench.core.seeding), and
the batches of an epoch on seed and epoch. So a run that was killed and resumed gives the same
numbers as one that was not.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bench.core.config import digest
from bench.core.errors import UserError
from bench.core.seeding import derive, generator, seed_torch
from bench.data.augment import augment, draw_lengths
from bench.data.batches import (
    Dataset,
    batches_from,
    collated,
    copied,
    epoch_order,
    feasible_subset,
    micro_batches,
)
from bench.training import checkpoint
from bench.training.clocks import Clocks
from bench.training.config import RunConfig
from bench.training.consistency import consistency_losses
from bench.training.ctc import ctc_losses
from bench.training.device import (
    autocast,
    default_precision,
    deterministic,
    exact_float32,
    keep_freed_memory,
    peak_memory_bytes,
)
from bench.training.evaluate import evaluate
from bench.training.memory import is_out_of_memory, release
from bench.training.model_ema import ModelEma
from bench.training.optim import (
    build_optimizer,
    learning_rate_at,
    set_learning_rate,
    step_unless,
)
from bench.training.progress import Progress, TrainResult, WatchTranscript
from bench.training.retry import prepare_retry
from bench.training.state import LoopState, read_window
from bench.training.step import Buffers
from variants.spec import AcousticModel

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run trains on, is chosen by, and is watched on."""

    train: Dataset
    valid: Dataset
    watch: Dataset

    @property
    def digest(self) -> str:
        """Names the utterances, their order and their features."""
        sets = (self.train, self.valid, self.watch)
        return digest([[d.store.digest, *(u.id for u in d.utterances)] for d in sets])


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
) -> TrainResult:
    """Train `model`, or go on where ``directory/checkpoints/last.pt`` left off, or the checkpoint
    before it if that is damaged.

    A run that the device's memory is too small for goes on from its last checkpoint: on a GPU that
    others use too in the same way, if it was not that checkpoint from which it did so before, and
    else, once, with twice the number of micro-batches.

    Args:
        config: of the run.
        model: what `build_model` gave for it; it is moved to `device` and trained in place.
        data: the network must have output frames enough for each text in train.
        device: where to compute.
        directory: the run's own; "last.pt" and "best.pt" are kept in its folder "checkpoints".
        report: called with the progress; returns True to stop the run here.
        before_save: called before each checkpoint of where the run is: what was reported is not
            reported again after a resume, so it should be safe by now.
        precision: of the network's arithmetic; the device's default where none is given.

    Raises:
        UserError: an empty split, an utterance too short for its text, a checkpoint in `directory`
            of another config or other data.
        UnwritableError: the disk is full; the last checkpoint stays.
        torch.OutOfMemoryError: the smaller parts were too large as well.
    """
    if device.type == "cpu":
        keep_freed_memory()
    retried_at: int | None = None
    with deterministic(config.training.deterministic), exact_float32():
        while True:
            try:
                return _train(
                    config, model, data, device, directory, report, before_save, precision
                )
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                _logger.info("out of memory", exc_info=True)
                reason = str(error)
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
) -> TrainResult:
    # 1. Set up, or take up what an earlier process left.
    _check_data(data, model)
    settings, seed = config.training, config.seed
    num_views = settings.num_views
    precision = precision or default_precision(device)
    last, best = (directory / "checkpoints" / name for name in ("last.pt", "best.pt"))
    model = model.to(device)
    optimizer = build_optimizer(model, config.optim)
    average = ModelEma(model, settings.average_decay)
    state = _resume(last, best, config, data, model, average, optimizer, device)
    buffers = Buffers(model)
    clocks = Clocks(state.seconds, device)
    saved_at = clocks.total
    order_of = partial(epoch_order, data.train, config.batches, seed=seed)
    sizes = [len(order_of(epoch=epoch)) for epoch in range(settings.num_epochs)]
    num_steps = sum(sizes)
    place = {"epoch": state.epoch, "batch": state.batch}
    batches = collated(data.train, batches_from(data.train, config.batches, seed=seed, **place))
    stop = False
    while state.outcome is None and not stop:
        # 2. A batch. Its lengths stay on the host too, so that nothing waits for the device.
        with clocks("data"):
            indices, host = next(batches)
        with clocks("augment"):
            rng = generator(seed, "augment", state.step)
            lens_B = draw_lengths(host, config.augment, model.output_lengths, rng)
            # Views of an utterance share its tempo; what is drawn from here on is their own.
            host, host_lens_B = host.repeated(num_views), lens_B.repeat_interleave(num_views)
            out_lens_B = model.output_lengths(host_lens_B)
            batch, feat_lens_B = host.to(device), copied(host_lens_B, device)
            feats_BTF = augment(batch, feat_lens_B, _longest(host_lens_B), config.augment, rng)

        # 3. Forward and backward; dropout draws from torch's global generators. A batch too large
        # for the device's memory goes in parts, whose gradients add up to that of the whole.
        seed_torch(derive(seed, "dropout", state.step), device)
        optimizer.zero_grad(set_to_none=True)
        model.train()
        buffers.save()
        loss, consistency = torch.zeros(2, device=device)
        for part in micro_batches(len(host.ids), state.num_micro_batches, num_views):
            with clocks("forward"), autocast(device, precision):
                feats = feats_BTF[part, : _longest(host_lens_B[part])]
                log_probs_BUV, _ = model(feats, feat_lens_B[part])
            with clocks("loss"):
                lens = out_lens_B[part], host.target_lens_B[part]
                losses_B = ctc_losses(log_probs_BUV, lens[0], batch.targets[part], lens[1])
                part_loss = objective = losses_B.sum() / len(host.ids)
                if settings.consistency_weight:
                    apart = consistency_losses(log_probs_BUV, *lens).sum() / len(host.ids)
                    objective = part_loss + settings.consistency_weight * apart
                    consistency += apart.detach()
            with clocks("backward"):
                torch.autograd.backward(objective)
                loss += part_loss.detach()

        # 4. A step, skipped without a trace if anything is not finite (see read_window).
        with clocks("optimizer"):
            learning_rate = learning_rate_at(state.step, num_steps, config.optim)
            set_learning_rate(optimizer, learning_rate)
            grad_norm = clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
            measured = [buffers.largest(), loss, grad_norm, consistency][: num_views + 2]
            state.window.append(torch.stack(measured))
            skip = ~state.window[-1].isfinite().all()
            step_unless(optimizer, skip)
            buffers.restore_if(skip)
            average.update(state.step, skip)
            state.audio_seconds += sum(data.train.utterances[index].seconds for index in indices)
            state.step, state.batch = state.step + 1, state.batch + 1

        # 5. Read the curves every few steps, and where the epoch or the time allowed ends.
        epoch = state.epoch + state.batch / sizes[state.epoch]
        epoch_ends = state.batch == sizes[state.epoch]
        cap = settings.max_train_seconds
        out_of_time = cap is not None and clocks.computed >= cap
        metrics: dict[str, float] = {}
        if epoch_ends or out_of_time or state.step % settings.log_every_steps == 0:
            metrics = {"epoch": epoch, "train/learning_rate": learning_rate}
            metrics |= read_window(state, clocks, data.train, order_of)

        # 6. At the end of an epoch, evaluate and keep the best weights.
        if epoch_ends:
            state.epoch, state.batch = state.epoch + 1, 0
        over = out_of_time or state.epoch == settings.num_epochs
        due = epoch_ends and state.epoch % settings.eval_every_epochs == 0
        evaluated = (due or over) and state.outcome is None
        watch: tuple[WatchTranscript, ...] = ()
        if evaluated:
            with clocks("evaluation"):
                state.final, watch = _evaluate(average.model, data, config, device, precision)
            metrics |= state.final
            if _is_better(state.final, state.best):
                state.best, state.best_epoch = state.final, math.ceil(epoch)
                with clocks("checkpoint"):
                    checkpoint.save(best, config, average.model, data.train.store.stats)
            patience = settings.patience or math.inf
            if state.epoch == settings.num_epochs or state.epoch - state.best_epoch >= patience:
                state.outcome = "finished"
            elif out_of_time:
                state.outcome = "cut"

        # 7. Report, then save: what was reported and not saved is reported again.
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
                before_save()
                _save_last(last, config, data, model, average, optimizer, state)
            saved_at = clocks.total
    return _result(state, clocks, best)


def _check_data(data: TrainingData, model: AcousticModel) -> None:
    """Refuse what would end in an infinite loss or in no rate at all."""
    if not len(data.train):
        raise UserError("training needs utterances in split 'train', got none; add some")

    _, left_out = feasible_subset(data.train, model.output_lengths)
    if left_out:
        first = left_out[0]
        raise UserError(
            f"train utterance {first.id!r} cannot be learned by this network: {first.reason}; "
            "leave it out, or take a smaller time stride"
        )


def _resume(
    last: Path,
    best: Path,
    config: RunConfig,
    data: TrainingData,
    model: AcousticModel,
    average: ModelEma,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> LoopState:
    """Put the newest whole checkpoint into model, average and optimizer; without one, write that
    of step 0."""
    content = checkpoint.newest_whole(last, best, device)
    if content is None:
        state = LoopState(num_micro_batches=config.training.num_micro_batches)
        _save_last(last, config, data, model, average, optimizer, state)
        return state
    checkpoint.check_same_run(last, content, config, data.digest)
    checkpoint.load_weights(last, content, config, model)
    if config.training.average_decay:
        checkpoint.load_weights(last, content, config, average.model, "average")
    optimizer.load_state_dict(content["optimizer"])
    return LoopState(**content["loop"])


def _save_last(
    path: Path,
    config: RunConfig,
    data: TrainingData,
    model: AcousticModel,
    average: ModelEma,
    optimizer: torch.optim.Optimizer,
    state: LoopState,
) -> None:
    """The inverse of `_resume`."""
    resuming = {
        "data": data.digest,
        "optimizer": optimizer.state_dict(),
        "loop": asdict(state),
        **average.state(),
    }
    checkpoint.save(path, config, model, data.train.store.stats, **resuming)


def _longest(host_lens_B: Tensor) -> int:
    """The largest of lengths on the CPU; no device is asked."""
    return int(host_lens_B.numpy().max())


def _evaluate(
    model: AcousticModel,
    data: TrainingData,
    config: RunConfig,
    device: torch.device,
    precision: torch.dtype,
) -> tuple[dict[str, float], tuple[WatchTranscript, ...]]:
    """Metrics on valid (none without such a split), and what is heard of the watch utterances."""
    metrics = {}
    if len(data.valid):
        valid = evaluate(model, data.valid, config.batches, device, precision=precision)
        metrics = {
            "valid/loss": valid.loss,
            "valid/wer": valid.totals.wer,
            "valid/cer": valid.totals.cer,
            "valid/blank_share": valid.blank_share,
            "valid/empty_share": valid.empty_share,
        }
    if not len(data.watch):
        return metrics, ()
    heard = evaluate(model, data.watch, config.batches, device, precision=precision).scores
    return metrics, tuple(WatchTranscript(id=s.id, ref=s.ref, hyp=s.hyp) for s in heard)


def _is_better(new: dict[str, float], best: dict[str, float]) -> bool:
    """By WER, of equals by CER; equal in both is not better. Without a valid split the newest is
    best."""
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
        seconds=dict(state.seconds),
        audio_seconds_per_second=state.audio_seconds / clocks.train,
        peak_memory_bytes=state.peak_memory_bytes,
        num_nonfinite=state.num_nonfinite,
        num_micro_batches=state.num_micro_batches,
        best_checkpoint=best_checkpoint,
    )
