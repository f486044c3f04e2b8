"""Convolutions over time against torch's in double precision."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from bench.core.cores import torch_threads
from variants.ops import kernel
from variants.ops.convolution import convolve

SHAPES = [
    pytest.param((1, 3, 1, 1, 1, 1, 0), id="least"),
    pytest.param((3, 40, 5, 7, 11, 2, 5), id="kernel-longer-than-stride"),
    pytest.param((2, 300, 4, 33, 3, 1, 1), id="more-than-a-block"),
    pytest.param((2, 23, 6, 8, 2, 5, 0), id="frames-left-out"),
    pytest.param((2, 5, 3, 4, 9, 3, 4), id="window-larger-than-the-utterance"),
    pytest.param((0, 5, 3, 4, 3, 1, 1), id="no-rows"),
]
"""Rows, frames, input channels, output channels, kernel, stride, padding."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients(shape: tuple[int, ...], bias: bool) -> None:
    num_rows, num_frames, num_inputs, num_outputs, *sizes = shape
    torch.manual_seed(0)
    ours = nn.Conv1d(num_inputs, num_outputs, sizes[0], sizes[1], sizes[2], bias=bias)
    exact = nn.Conv1d(num_inputs, num_outputs, sizes[0], sizes[1], sizes[2], bias=bias).double()
    exact.load_state_dict(ours.state_dict())
    x_BTC = torch.randn(num_rows, num_frames, num_inputs, requires_grad=True)
    x_BCT = x_BTC.detach().double().transpose(1, 2).requires_grad_()
    y_BUD, exact_BDU = convolve(ours, x_BTC), exact(x_BCT)
    assert y_BUD.is_contiguous()
    grad_BUD = torch.randn(y_BUD.shape)
    y_BUD.backward(grad_BUD)
    exact_BDU.backward(grad_BUD.double().transpose(1, 2))
    assert x_BTC.grad is not None
    assert x_BCT.grad is not None
    pairs = [(y_BUD, exact_BDU.transpose(1, 2)), (x_BTC.grad, x_BCT.grad.transpose(1, 2))]
    pairs += [(p.grad, q.grad) for p, q in zip(ours.parameters(), exact.parameters(), strict=True)]  # type: ignore[misc]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


def test_threads_change_no_bit() -> None:
    conv, x_BTC = nn.Conv1d(8, 40, 5, 2, 2), torch.randn(4, 300, 8)

    def numbers(num_threads: int) -> list[torch.Tensor]:
        with torch_threads(num_threads):
            y_BUD = convolve(conv, x_BTC)
            return [y_BUD, *torch.autograd.grad(y_BUD.square().sum(), list(conv.parameters()))]

    assert all(map(torch.equal, numbers(1), numbers(3)))


def test_torch_computes_where_the_kernel_is_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x_BTC = nn.Conv1d(3, 4, 5, 2, 2), torch.randn(2, 9, 3)
    expected_BUD = conv(x_BTC.transpose(1, 2)).transpose(1, 2)
    monkeypatch.setattr(kernel, "call", None)
    with kernel.unused():
        assert torch.equal(convolve(conv, x_BTC), expected_BUD)
    assert convolve(deepcopy(conv).double(), x_BTC.double()).dtype == torch.float64
    assert convolve(deepcopy(conv).to("meta"), x_BTC.to("meta")).shape == expected_BUD.shape
