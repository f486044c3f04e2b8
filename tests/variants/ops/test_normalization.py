"""Normalisations against torch's on the valid frames."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from bench.core.cores import torch_threads
from variants.ops import kernel
from variants.ops.normalization import MaskedBatchNorm, Normalization
from variants.ops.padding import frame_mask

LENS = torch.tensor([9, 4, 7])


def padded(*shape: int) -> Tensor:
    """Random [3, 9, *shape] with large values in the padding after LENS."""
    x = torch.randn(3, 9, *shape, generator=torch.Generator().manual_seed(0))
    x[~frame_mask(LENS, 9)] = 1e3
    return x


@pytest.mark.parametrize("inner", [(), (4,)], ids=["BTC", "BTFC"])
def test_batch_norm_is_torch_s_over_the_valid_frames(inner: tuple[int, ...]) -> None:
    ours, torchs = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    for module in (ours, torchs):
        nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(2))
    x = padded(*inner, 5).mul(2).add(3).requires_grad_()
    mask = frame_mask(LENS, 9)
    expected = torchs(x[mask].flatten(0, -2))
    got = ours(x, LENS)[mask].flatten(0, -2)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    weights = torch.randn_like(got)
    grads, theirs = (
        torch.autograd.grad((y * weights).sum(), [x, module.weight, module.bias])
        for y, module in ((got, ours), (expected, torchs))
    )
    torch.testing.assert_close(grads, theirs, atol=1e-5, rtol=1e-4)
    assert not grads[0][~mask].any()
    ours.eval()
    torchs.eval()
    torch.testing.assert_close(ours(x, LENS)[mask].flatten(0, -2), torchs(x[mask].flatten(0, -2)))


def test_batch_norm_keeps_float32_statistics_of_bfloat16() -> None:
    norm, x = MaskedBatchNorm(5), padded(5).bfloat16()
    assert norm(x, LENS).dtype == torch.bfloat16
    mean = x[frame_mask(LENS, 9)].float().mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)


BY_KERNEL = pytest.mark.parametrize("by_kernel", [True, False], ids=["kernel", "torch"])


@BY_KERNEL
@pytest.mark.parametrize("shape", [(3, 150, 300), (4, 90, 7, 5)], ids=str)
def test_batch_norm_of_long_batches_with_a_large_mean(
    shape: tuple[int, ...], by_kernel: bool
) -> None:
    """More rows and channels than one block of the kernel; against torch in double precision."""
    ours, exact = MaskedBatchNorm(shape[-1]), nn.BatchNorm1d(shape[-1]).double()
    x = torch.randn(shape).add(100).requires_grad_()
    wide = x.detach().double().requires_grad_()
    lens = torch.tensor([shape[1], 0, 1, shape[1] + 3][: shape[0]])
    mask = frame_mask(lens, shape[1])
    with nullcontext() if by_kernel else kernel.unused():
        y, expected = ours(x, lens), exact(wide[mask].flatten(0, -2))
        weights = torch.randn(shape) * mask.view(*mask.shape, *[1] * (x.dim() - 2))
        (y * weights).sum().backward()
    (expected * weights[mask].flatten(0, -2)).sum().backward()
    torch.testing.assert_close(y[mask].flatten(0, -2), expected.float(), rtol=1e-4, atol=1e-4)
    pairs = [(x.grad, wide.grad), (ours.weight.grad, exact.weight.grad)]
    pairs += [(ours.bias.grad, exact.bias.grad), (ours.running_var, exact.running_var)]
    for found, wanted in pairs:
        assert wanted is not None
        torch.testing.assert_close(found, wanted.float(), rtol=1e-3, atol=1e-3)


def test_batch_norm_by_the_kernel_is_that_by_torch_also_in_the_padding() -> None:
    norm, x = MaskedBatchNorm(5), torch.randn(3, 9, 4, 5, requires_grad=True)
    with kernel.unused():
        y = norm(x, LENS)
        expected = (y, *torch.autograd.grad(y.square().sum(), [x, norm.weight, norm.bias]))
    y = norm(x, LENS)
    found = (y, *torch.autograd.grad(y.square().sum(), [x, norm.weight, norm.bias]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_evaluation_with_and_without_gradients() -> None:
    norm, x = MaskedBatchNorm(5), torch.randn(3, 9, 5, 4).transpose(2, 3)
    norm(x, LENS)
    norm.eval()
    expected = norm(x, LENS)
    assert expected.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(norm(x, LENS), expected.detach())


def test_threads_change_no_bit_of_a_batch_norm() -> None:
    norm, x = MaskedBatchNorm(40), torch.randn(3, 200, 40, requires_grad=True)

    def numbers(num_threads: int) -> list[torch.Tensor]:
        with torch_threads(num_threads):
            y = norm(x, torch.tensor([200, 3, 120]))
            return [y, *torch.autograd.grad(y.square().sum(), [x, norm.weight])]

    assert all(map(torch.equal, numbers(1), numbers(3)))


def test_batch_norm_propagates_gradients_of_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients through mean and variance to the valid frames, against finite differences."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)  # which need 64 bits
    norm, lens = MaskedBatchNorm(2).double(), torch.tensor([3, 2])
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: norm(x, lens), (x, norm.weight, norm.bias))


def test_batch_norm_of_no_frames_or_one_stays_finite() -> None:
    norm = MaskedBatchNorm(5)
    for lens in (torch.tensor([0]), torch.tensor([1])):
        assert norm(torch.randn(1, 3, 5), lens).isfinite().all()
        assert norm.running_var.isfinite().all()


def test_normalizations() -> None:
    x = padded(5)
    assert Normalization("none", 5)(x, LENS) is x
    torch.testing.assert_close(Normalization("layer", 5)(x, LENS), nn.LayerNorm(5)(x))
    torch.testing.assert_close(Normalization("batch", 5)(x, LENS), MaskedBatchNorm(5)(x, LENS))
