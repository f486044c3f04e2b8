"""The compiled recurrences against torch's cells: outputs and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.core.cores import torch_threads
from variants.layers import CELLS, Cell
from variants.ops.recurrence import recur

SHAPES = [(3, 17, 5), (1, 1, 5), (1, 4, 5), (4, 2, 5), (13, 3, 5), (29, 6, 40)]
"""Rows, frames, inputs: fewer and more rows than a block of the kernel."""


def gradients(cell: nn.RNNBase, x_BTC: Tensor, run: Callable[[Tensor], Tensor]) -> list[Tensor]:
    y_BTH = run(x_BTC)
    generator = torch.Generator().manual_seed(1)
    weights_BTH = torch.randn(y_BTH.shape, generator=generator).to(y_BTH.dtype)
    return [y_BTH, *torch.autograd.grad((y_BTH * weights_BTH).sum(), [x_BTC, *cell.parameters()])]


@pytest.mark.parametrize("width", [1, 7, 32, 45])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_torch_in_double_precision(
    name: Cell, bias: bool, shape: tuple[int, ...], width: int
) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](shape[-1], width, bias=bias, batch_first=True)
    exact = CELLS[name](shape[-1], width, bias=bias, batch_first=True).double()
    exact.load_state_dict(cell.state_dict())
    x_BTC = torch.randn(shape, requires_grad=True)
    wide_BTC = x_BTC.detach().double().requires_grad_()
    ours = gradients(cell, x_BTC, lambda x: recur(cell, x))
    theirs = gradients(exact, wide_BTC, lambda x: exact(x)[0])
    for mine, other in zip(ours, theirs, strict=True):
        largest = float(other.detach().abs().max())
        torch.testing.assert_close(mine.double(), other, rtol=0, atol=2e-6 * max(1.0, largest))


@pytest.mark.parametrize("name", CELLS)
def test_numbers_do_not_depend_on_threads_nor_on_other_rows(name: Cell) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](5, 40, batch_first=True)
    x_BTC = torch.randn(15, 9, 5)
    with torch_threads(1), torch.no_grad():
        whole = recur(cell, x_BTC)
        assert torch.equal(whole[3:4], recur(cell, x_BTC[3:4]))
    with torch_threads(3), torch.no_grad():
        assert torch.equal(whole, recur(cell, x_BTC))


@pytest.mark.parametrize("name", CELLS)
def test_large_and_small_inputs(name: Cell) -> None:
    """Arguments for which sigmoid and tanh saturate, and for which tanh(x) ≈ x."""
    cell = CELLS[name](1, 3, batch_first=True, bias=False)
    for scale in (1e-6, 1e3, 1e30):
        x_BTC = scale * torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(recur(cell, x_BTC), cell(x_BTC)[0], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_values_are_propagated(name: Cell, value: float) -> None:
    cell = CELLS[name](2, 3, batch_first=True)
    x_BTC = torch.zeros(2, 5, 2)
    x_BTC[0, 1] = value
    with torch.no_grad():
        ours, theirs = recur(cell, x_BTC), cell(x_BTC)[0]
    assert ours[1].isfinite().all()
    assert torch.equal(ours.isnan().any(-1), theirs.isnan().any(-1))


@pytest.mark.parametrize("name", CELLS)
def test_input_in_any_layout(name: Cell) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](5, 7, batch_first=True)
    x_TBC = torch.randn(6, 3, 5, requires_grad=True)
    ours = gradients(cell, x_TBC, lambda x: recur(cell, x.transpose(0, 1)).transpose(1, 2))
    theirs = gradients(cell, x_TBC, lambda x: cell(x.transpose(0, 1))[0].transpose(1, 2))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_autocast_computes_in_bfloat16(name: Cell, bias: bool, device: str) -> None:
    """torch computes with input, weights and state in bfloat16; gradients have the weights' type."""
    torch.manual_seed(0)
    cell = CELLS[name](3, 4, batch_first=True, bias=bias).to(device)
    x_BTC = torch.randn(2, 5, 3, device=device, requires_grad=True)
    with torch.autocast(device, torch.bfloat16):
        reduced = recur(cell, x_BTC)
        # Float16 cannot hold this input.
        assert recur(cell, 1e6 * x_BTC).isfinite().all()
    assert reduced.dtype == torch.bfloat16
    exact = recur(cell, x_BTC)
    torch.testing.assert_close(reduced.float(), exact, atol=0.02, rtol=0.02)
    variables = [x_BTC, *cell.parameters()]
    # Nor gradients as small as these.
    grads = torch.autograd.grad((1e-9 * reduced.float()).sum(), variables)
    expected = torch.autograd.grad((1e-9 * exact).sum(), variables)
    for grad, wanted in zip(grads, expected, strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(1e9 * grad, 1e9 * wanted, atol=0.1, rtol=0.1)


def test_no_gradient_is_kept_where_none_is_asked_for() -> None:
    cell = nn.GRU(3, 4, batch_first=True)
    with torch.inference_mode():
        assert not recur(cell, torch.randn(2, 5, 3)).requires_grad
