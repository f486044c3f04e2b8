"""Dropout: probability, mean and gradient."""

from contextlib import nullcontext

import pytest
import torch

from bench.core.cores import torch_threads
from variants.ops import kernel
from variants.ops.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.9])
def test_dropout_zeros_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(401, 499, dtype=dtype, requires_grad=True)  # no multiple of four
    dropout = Dropout(p)
    y = dropout(x)
    kept = y != 0
    assert y.dtype == dtype
    # 200,099 draws: four standard deviations are at most .0045.
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.0045)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)), rtol=0.01, atol=0)
    for place in range(4):  # each quarter of a draw alike
        share = kept.flatten()[place::4].float().mean().item()
        assert share == pytest.approx(1 - p, abs=0.009)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, y)
    assert not torch.equal(dropout(x), y)
    torch.manual_seed(0)
    assert torch.equal(dropout(x), y)


def test_dropout_in_evaluation_or_with_probability_zero_returns_its_input() -> None:
    x = torch.ones(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.9999999)(x).isfinite().all()


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_share_too_small_for_16_bits_drops_nothing(by_kernel: bool) -> None:
    x = torch.randn(300, 401)
    with nullcontext() if by_kernel else kernel.unused():
        assert torch.equal(Dropout(7e-6)(x), x)
        assert Dropout(1e-4)(x).eq(0).float().mean().item() == pytest.approx(1e-4, abs=1e-4)


def test_the_kernel_drops_as_torch_does_with_any_number_of_threads() -> None:
    x = torch.randn(37, 5)
    x[:4], x[4:8], x[8:12] = torch.nan, torch.inf, -0.0  # some are dropped

    def numbers(num_threads: int, by_kernel: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        own = x.clone().requires_grad_()
        with torch_threads(num_threads), nullcontext() if by_kernel else kernel.unused():
            y = Dropout(0.3)(own)
            return [y, *torch.autograd.grad(y.t().square().sum(), [own])]

    expected = numbers(1, False)
    for num_threads in (1, 3):
        for found, wanted in zip(numbers(num_threads, True), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
