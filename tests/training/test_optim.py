import itertools
import math

import pytest
import torch
from torch import nn

from bench.core.config import updated
from bench.core.errors import UserError
from bench.training.optim import (
    OptimConfig,
    build_optimizer,
    learning_rate_at,
    set_learning_rate,
    step_unless,
)


def rates(num_steps: int = 101, **config: object) -> list[float]:
    made = OptimConfig(learning_rate=2.0, **config)  # type: ignore[arg-type]
    return [learning_rate_at(step, num_steps, made) for step in range(num_steps)]


def test_one_cycle_rises_in_a_line_and_falls_in_a_cosine() -> None:
    found = rates(schedule="one_cycle", warmup_share=0.2, final_lr_share=0.1)
    assert found[0] == pytest.approx(2 / 21)
    assert found[10] == pytest.approx(2 * 11 / 21)
    assert max(found) == found[20] == 2.0
    assert found[60] == pytest.approx(2 * (0.1 + 0.9 / 2))
    assert found[-1] == pytest.approx(0.2)


def test_exponential_falls_by_one_factor() -> None:
    found = rates(schedule="exponential", warmup_share=0.0, final_lr_share=0.01)
    assert found[0] == 2.0
    assert found[-1] == pytest.approx(0.02)
    assert {round(b / a, 12) for a, b in itertools.pairwise(found)} == {
        round(0.01 ** (1 / 100), 12)
    }


def test_constant_is_level_after_its_warmup() -> None:
    found = rates(schedule="constant", warmup_share=0.1)
    assert found[9] < 2.0
    assert set(found[10:]) == {2.0}


@pytest.mark.parametrize("schedule", ["one_cycle", "exponential", "constant"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_short_runs_have_a_rate_at_every_step(schedule: str, num_steps: int) -> None:
    found = rates(num_steps, schedule=schedule, warmup_share=0.5)
    assert all(0 < rate <= 2.0 for rate in found)
    assert max(found) == 2.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rate", 0.0, "learning_rate must be above 0, got 0.0"),
        ("max_grad_norm", -1.0, "max_grad_norm must be above 0, got -1.0"),
        ("weight_decay", -0.1, "weight_decay must be at least 0, got -0.1"),
        ("momentum", 1.0, "momentum must be at least 0 and below 1, got 1.0"),
        ("warmup_share", 1.0, "warmup_share must be at least 0 and below 1, got 1.0"),
        ("final_lr_share", 0.0, "final_lr_share must be above 0 and at most 1, got 0.0"),
        ("learning_rate", math.nan, "learning_rate must be above 0, got nan"),
    ],
)
def test_values_out_of_range(key: str, value: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        updated(OptimConfig(), {key: value})


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="momentum must be above 0 for Nesterov's SGD"):
        OptimConfig(optimizer="sgd", momentum=0.0)


def model_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model(torch.ones(5, 3)).square().sum().backward()
    return model


def test_only_matrices_decay() -> None:
    model = model_with_gradients()
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer = build_optimizer(model, OptimConfig(learning_rate=0.1, weight_decay=0.5))
    optimizer.step()
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old * (0.95 if p.ndim > 1 else 1.0))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_agrees_with_the_published_update(name: str) -> None:
    """Two steps of each, written out: Loshchilov and Hutter 2019; Nesterov as torch has it."""
    parameter = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    holder = nn.ParameterList([parameter])
    config = OptimConfig(optimizer=name, weight_decay=0.1, momentum=0.8)  # type: ignore[arg-type]
    optimizer = build_optimizer(holder, config)
    x, m, v = parameter.detach().clone(), torch.zeros(1, 2).double(), torch.zeros(1, 2).double()
    for step, rate in enumerate((0.3, 0.2), start=1):
        grad = torch.tensor([[0.5, 3.0]]).double() * step
        parameter.grad = grad.clone()
        set_learning_rate(optimizer, rate)
        step_unless(optimizer, torch.tensor(False))
        if name == "adamw":
            m, v = 0.8 * m + 0.2 * grad, 0.98 * v + 0.02 * grad**2
            adam = (m / (1 - 0.8**step)) / ((v / (1 - 0.98**step)).sqrt() + 1e-8)
            x = x - rate * (adam + 0.1 * x)
        else:
            decayed = grad + 0.1 * x
            m = 0.8 * m + decayed
            x = x - rate * (decayed + 0.8 * m)
        torch.testing.assert_close(parameter.detach(), x)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_step_left_out_leaves_no_trace(name: str) -> None:
    """Not even at the very first step, nor in what the optimizer remembers."""

    def weights(skips: tuple[bool, ...]) -> list[torch.Tensor]:
        model = model_with_gradients()
        config = OptimConfig(optimizer=name)  # type: ignore[arg-type]
        optimizer = build_optimizer(model, config)
        good = [p.grad for p in model.parameters()]
        for skip in skips:
            for p, grad in zip(model.parameters(), good, strict=True):
                assert grad is not None
                p.grad = torch.full_like(p, math.nan) if skip else grad.clone()
            step_unless(optimizer, torch.tensor(skip))
        return [p.detach() for p in model.parameters()]

    disturbed, undisturbed = weights((True, False, True, False)), weights((False, False))
    assert all(map(torch.equal, disturbed, undisturbed))
