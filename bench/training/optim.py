"""Optimizers, and the learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from variants.spec import check_range

ADAM_BETA2 = 0.98
"""The second moment averages over about 50 steps, as in Vaswani et al. 2017 (0.999: 1000 steps).
CTC's gradients change by orders of magnitude when a network leaves its all-blank phase, and with
0.999 Adam would still divide by their old magnitude."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer and learning-rate schedule."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019), or SGD with Nesterov momentum."""
    learning_rate: float = 0.003
    """The maximum of the schedule."""
    weight_decay: float = 0.01
    """For weights of two or more dimensions; biases and gains do not decay. Decoupled for AdamW,
    an L2 penalty for SGD."""
    momentum: float = 0.9
    """Of SGD; AdamW's beta 1."""
    schedule: Literal["one_cycle", "exponential", "constant"] = "one_cycle"
    """After the warm-up: a half cosine, an exponential decay per step, or constant."""
    warmup_share: float = 0.1
    """Share of all steps in which the rate rises linearly to its maximum."""
    final_lr_share: float = 0.01
    """The final rate of a decaying schedule, as a share of the maximum."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this Euclidean norm."""

    def __post_init__(self) -> None:
        check_range(self, "learning_rate", "max_grad_norm", above=0, below=math.inf)
        check_range(self, "weight_decay", at_least=0, below=math.inf)
        check_range(self, "momentum", "warmup_share", at_least=0, below=1)
        if self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("momentum must be above 0 for Nesterov's SGD, got 0")
        check_range(self, "final_lr_share", above=0, at_most=1)


def learning_rate_at(step: int, num_steps: int, config: OptimConfig) -> float:
    """The learning rate of `step` (from 0) in a run of `num_steps`."""
    num_warmup = round(config.warmup_share * num_steps)
    # From a share of the maximum above 0 to just below it, which the step after the warm-up has:
    #
    #     step       0    1    2    3          a warm-up of 3 steps
    #     rate     1/4  2/4  3/4    1          of the maximum
    if step < num_warmup:
        return config.learning_rate * (step + 1) / (num_warmup + 1)
    # 0 at the first step after the warm-up, 1 at the last of the run.
    position = (step - num_warmup) / max(1, num_steps - 1 - num_warmup)
    match config.schedule:
        case "constant":
            share = 1.0
        case "exponential":
            share = config.final_lr_share**position
        case "one_cycle":
            cosine = (1 + math.cos(math.pi * position)) / 2
            share = config.final_lr_share + (1 - config.final_lr_share) * cosine
    return config.learning_rate * share


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer of the parameters of `model`, on whose device its state lives.

    Fused kernels on every device: on a CPU they take a third of the time of torch's other
    implementations, and only they can skip a step by a flag on the device (see `step_unless`).
    """
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            betas=(config.momentum, ADAM_BETA2),
            fused=True,
            capturable=next(model.parameters()).device.type == "cuda",
        )
    sgd = torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True, fused=True
    )
    # torch allocates the buffer in the first step and fills it there; if that step is skipped, the
    # second one would read uninitialised memory.
    for parameter in model.parameters():
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of a checkpoint, which may have been written on another kind of device."""
    groups = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, before in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] = before["lr"]  # that of a step comes with its inputs
        if "capturable" in group:
            group["capturable"] = before["capturable"]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float | Tensor) -> None:
    """Set the learning rate of the next step: on CUDA a scalar on the device, so that a captured
    step reads the value of its turn."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def step_unless(optimizer: torch.optim.Optimizer, skip: Tensor) -> None:
    """Take one step unless `skip` (a bool on the device) is true; then weights and optimizer state
    stay as they are.

    The device evaluates the flag, so the host does not wait. `found_inf` is how torch's GradScaler
    passes such a flag to fused optimizers.
    """
    optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
    optimizer.step()
