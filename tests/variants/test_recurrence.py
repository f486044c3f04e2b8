"""The written-out recurrences against torch's own cells, in values and in gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from variants.layers import CELLS, Cell
from variants.recurrence import PACKED_FROM_WIDTH, recur


def gradients(cell: nn.RNNBase, x_BTC: Tensor, run: Callable[[Tensor], Tensor]) -> list[Tensor]:
    y_BTH = run(x_BTC)
    weights_BTH = torch.randn(y_BTH.shape, dtype=y_BTH.dtype, generator=torch.manual_seed(1))
    return [y_BTH, *torch.autograd.grad((y_BTH * weights_BTH).sum(), [x_BTC, *cell.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("shape", [(3, 17, 5), (1, 1, 5), (4, 2, 5)])
def test_numbers_are_those_of_torch(name: Cell, bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](5, 7, bias=bias, batch_first=True).double()
    x_BTC = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    ours = gradients(cell, x_BTC, lambda x: recur(cell, x))
    theirs = gradients(cell, x_BTC, lambda x: cell(x)[0])
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "gru"])
def test_packed_products_give_the_same_numbers(name: Cell) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](5, PACKED_FROM_WIDTH, batch_first=True)
    x_BTC = torch.randn(3, 9, 5, requires_grad=True)
    packed = gradients(cell, x_BTC, lambda x: recur(cell, x))
    theirs = gradients(cell, x_BTC, lambda x: cell(x)[0])
    for mine, other in zip(packed, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rnn", "relu_rnn", "gru"])
def test_gradients_agree_with_finite_differences(name: Cell) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](3, 4, batch_first=True).double()
    x_BTC = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, *_: recur(cell, x), (x_BTC, *cell.parameters()))


@pytest.mark.parametrize("name", CELLS)
def test_autocast_runs_torchs_own_cell(name: Cell) -> None:
    cell = CELLS[name](3, 4, batch_first=True)
    x_BTC = torch.randn(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recur(cell, x_BTC), cell(x_BTC)[0])


def test_no_gradient_is_kept_where_none_is_asked_for() -> None:
    cell = nn.GRU(3, 4, batch_first=True)
    with torch.inference_mode():
        assert not recur(cell, torch.randn(2, 5, 3)).requires_grad
