"""One training step, the same function on every device.

Legend: B rows of a batch, T frames, F feature bins, U output frames, V symbols.

A step whose loss, gradient or buffers are not finite is skipped: weights, optimizer, moving average
and buffers stay as they were. The device evaluates the flag, so the host does not wait for it and
takes no branch on it. A step copies nothing from the host and asks the device for no value, so that
a CUDA graph can capture it.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from bench.data.augment import augment
from bench.data.resident import ResidentFeatures
from bench.training.clocks import Clocks
from bench.training.config import RunConfig
from bench.training.consistency import consistency_losses
from bench.training.ctc import ctc_losses
from bench.training.device import autocast, default_precision
from bench.training.inputs import StepInputs
from bench.training.model_ema import ModelEma
from bench.training.optim import build_optimizer, set_learning_rate, step_unless
from bench.training.replica import Replica
from variants.spec import AcousticModel


class Buffers:
    """The buffers of a network, such as the running statistics of batch normalisation, which a
    forward pass changes in place."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is on its device already and stays there."""
        self._current = list(model.buffers())
        self._floating = [buffer for buffer in self._current if buffer.is_floating_point()]
        self._saved = [buffer.clone() for buffer in self._current]
        self._nothing = torch.zeros((), device=next(model.parameters()).device)

    @torch.no_grad()
    def save(self) -> None:
        """Copy the buffers; called before the forward passes of a step."""
        if self._current:
            torch._foreach_copy_(self._saved, self._current)

    @torch.no_grad()
    def largest(self) -> Tensor:
        """The largest magnitude of all floating-point buffers, float32 []: not finite if any
        element is not; 0 without buffers."""
        if not self._floating:
            return self._nothing
        norms = torch._foreach_norm(self._floating, float("inf"))
        return torch.stack([norm.float() for norm in norms]).max()

    @torch.no_grad()
    def restore_if(self, skip: Tensor) -> None:
        """Restore the copy if `skip` (a bool on the device) is true."""
        for saved, current in zip(self._saved, self._current, strict=True):
            torch.where(skip, saved, current, out=current)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a step changes, and how it computes."""

    config: RunConfig
    model: AcousticModel
    replica: Replica
    """Calls `model`."""
    optimizer: torch.optim.Optimizer
    average: ModelEma
    buffers: Buffers
    device: torch.device
    precision: torch.dtype
    """Of the network's arithmetic."""
    features: ResidentFeatures | None = None
    """None: each step's inputs hold its features."""

    @classmethod
    def of(
        cls,
        config: RunConfig,
        model: AcousticModel,
        device: torch.device,
        precision: torch.dtype | None = None,
    ) -> Self:
        """For one process that trains `model`, which is on `device`: its weights as they are, a new
        optimizer, `precision` or the device's default."""
        return cls(
            config=config,
            model=model,
            replica=Replica(model),
            optimizer=build_optimizer(model, config.optim),
            average=ModelEma(model, config.training.average_decay),
            buffers=Buffers(model),
            device=device,
            precision=precision or default_precision(device),
        )


class Step(Protocol):
    """Takes a training step: `train_step`, or a captured one."""

    def __call__(self, trained: Trained, inputs: StepInputs, clocks: Clocks) -> Tensor:
        """The row of the window, see LoopState; on the device."""


def train_step(trained: Trained, inputs: StepInputs, clocks: Clocks) -> Tensor:
    """Change weights, optimizer, average and buffers by one batch.

    Dropout draws from torch's global generators, which the caller has seeded.

    Returns:
        float32 [3] or [4]: the largest magnitude of the buffers, the loss, the gradient's norm and,
        with a consistency loss, that loss. If one is not finite, nothing was changed.
    """
    config, model, optimizer = trained.config, trained.model, trained.optimizer
    with clocks("augment"):
        feats_BTF = _augmented(trained, inputs)
    # The gradients of the micro-batches add up to that of the batch.
    optimizer.zero_grad(set_to_none=True)
    model.train()
    trained.buffers.save()
    loss, consistency = torch.zeros(2, device=trained.device)
    for number, (rows, num_frames) in enumerate(inputs.parts, start=1):
        with trained.replica.micro_batch(is_last=number == len(inputs.parts)):
            losses = _backward(trained, inputs, feats_BTF[rows, :num_frames], rows, clocks)
        loss += losses[0]
        consistency += losses[1]
    # The device skips the step if a value is not finite; the host learns of it in read_window.
    with clocks("optimizer"):
        set_learning_rate(optimizer, inputs.learning_rate)
        # If the norm is not finite, neither are the clipped gradients; then the step is skipped.
        grad_norm = clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
        # The norm is of all ranks already. Of the buffers only whether they are finite matters.
        largest, loss, consistency = trained.replica.summed(
            trained.buffers.largest(), loss, consistency
        )
        measured = [largest, loss, grad_norm, consistency]
        row = torch.stack(measured[: config.training.num_views + 2])  # the last only with two views
        skip = ~row.isfinite().all()
        step_unless(optimizer, skip)
        trained.buffers.restore_if(skip)
        trained.average.update(inputs.average_share, skip)
    return row


def _backward(
    trained: Trained, inputs: StepInputs, feats_BTF: Tensor, rows: slice, clocks: Clocks
) -> tuple[Tensor, Tensor]:
    """Add the gradients of the micro-batch `rows`, whose features are `feats_BTF`; its shares of
    the loss and of the consistency loss."""
    settings = trained.config.training
    with clocks("forward"), autocast(trained.device, trained.precision):
        log_probs_BUV, _ = trained.replica(feats_BTF, inputs.new_lens_B[rows])
    with clocks("loss"):
        out_lens_B, target_lens_B = inputs.out_lens_B[rows], inputs.target_lens_B[rows]
        losses_B = ctc_losses(log_probs_BUV, out_lens_B, inputs.targets_BS[rows], target_lens_B)
        loss = objective = losses_B.sum() / inputs.num_rows
        apart = torch.zeros_like(loss)
        if settings.consistency_weight:
            apart_B = consistency_losses(log_probs_BUV, out_lens_B, target_lens_B)
            apart = apart_B.sum() / inputs.num_rows
            objective = loss + settings.consistency_weight * apart
    with clocks("backward"):
        torch.autograd.backward(objective)
    return loss.detach(), apart.detach()


def _augmented(trained: Trained, inputs: StepInputs) -> Tensor:
    """Features [B, T, F], float32, each utterance once for each view."""
    config, resident = trained.config, trained.features
    feats_NTF = resident.gather(inputs.feats_NTF) if resident else inputs.feats_NTF
    feats_NTF, num_views = feats_NTF.float(), config.training.num_views
    if num_views > 1:
        feats_NTF = feats_NTF[:, None].expand(-1, num_views, -1, -1).flatten(0, 1)
    lens = inputs.old_lens_B, inputs.new_lens_B
    return augment(feats_NTF, *lens, inputs.longest, config.augment, inputs.draws)
