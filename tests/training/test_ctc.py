"""The CTC loss against torch's in double precision, which is written differently."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.units import LETTERS
from bench.training.ctc import ctc_losses
from variants.ops import kernel


def example(
    num_rows: int,
    num_frames: int,
    num_labels: int,
    spread: float = 3.0,
    num_symbols: int = LETTERS.num_symbols,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log probabilities and labels of rows of all lengths; letters are often doubled."""
    rng = torch.Generator().manual_seed(num_frames)
    log_probs = spread * torch.randn(num_rows, num_frames, num_symbols, generator=rng)
    lens = torch.randint(num_frames // 2, num_frames + 1, (num_rows,), generator=rng)
    lens[0] = num_frames
    target_lens = torch.randint(0, num_labels + 1, (num_rows,), generator=rng)
    target_lens[0] = num_labels
    num_used = 4 if num_symbols == LETTERS.num_symbols else num_symbols
    targets = torch.randint(1, num_used, (num_rows, num_labels), generator=rng)
    return log_probs.log_softmax(-1), lens, targets, target_lens


def gradient(losses: Tensor, log_probs: Tensor) -> Tensor:
    """With another weight for each row."""
    weights = torch.arange(1, len(losses) + 1) / len(losses)
    (grad,) = torch.autograd.grad(losses @ weights.to(losses), log_probs)
    return grad


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("shape", [(5, 30, 9), (3, 120, 40), (2, 7, 0), (4, 1, 1), (1, 400, 150)])
def test_loss_and_gradient(shape: tuple[int, int, int], spread: float) -> None:
    agrees_with_torch(*example(*shape, spread))


def test_many_symbols() -> None:
    """1,024 pieces of words, in a text of as many labels as the longest of `spoken` has letters."""
    agrees_with_torch(*example(2, 400, 187, num_symbols=1025))


def agrees_with_torch(
    log_probs: Tensor, lens: Tensor, targets: Tensor, target_lens: Tensor
) -> None:
    here = log_probs.requires_grad_()
    found = ctc_losses(here, lens, targets, target_lens)
    wide = log_probs.detach().double().requires_grad_()
    expected = F.ctc_loss(wide.transpose(0, 1), targets, lens, target_lens, reduction="none")
    expected = expected / target_lens.clamp(min=1)
    torch.testing.assert_close(found, expected.float())
    # Torch's gradient is that of what goes into a softmax: the probabilities come on top of ours.
    feasible = expected.isfinite()
    weights = torch.arange(1, len(lens) + 1) / len(lens) / target_lens.clamp(min=1)
    inside = torch.arange(log_probs.shape[1]) < lens[:, None]
    softmax = wide.detach().exp() * (weights[:, None] * inside)[..., None]
    difference = gradient(found, here) - (gradient(expected, wide) - softmax)
    assert difference[feasible].abs().max() < 2e-5


def test_per_symbol_and_padding_costs_nothing() -> None:
    log_probs, lens, targets, target_lens = example(2, 9, 4)
    lens, target_lens = torch.tensor([9, 5]), torch.tensor([4, 2])
    found = ctc_losses(log_probs, lens, targets, target_lens)
    mean = F.ctc_loss(log_probs.transpose(0, 1), targets, lens, target_lens, reduction="mean")
    torch.testing.assert_close(found.mean(), mean)
    alone = ctc_losses(log_probs[1:, :5], lens[1:], targets[1:, :2], target_lens[1:])
    assert torch.equal(found[1:], alone)
    assert ctc_losses(log_probs.bfloat16(), lens, targets, target_lens).dtype == torch.float32


def test_padding_gets_no_gradient_whatever_it_holds() -> None:
    log_probs, lens, targets, target_lens = example(2, 9, 4)
    lens[1] = 5
    log_probs[1, 5:] = math.nan
    here = log_probs.requires_grad_()
    grad = gradient(ctc_losses(here, lens, targets, target_lens), here)
    assert torch.equal(grad[1, 5:], torch.zeros(4, LETTERS.num_symbols))
    torch.testing.assert_close(-2 * 4 * grad[0].sum(-1), torch.ones(9))  # weight 1/2, four labels


@pytest.mark.parametrize("labels", [[3, 3], [3, 4, 5]])
def test_too_few_frames_are_an_infinite_loss_without_gradient(labels: list[int]) -> None:
    for num_frames, is_possible in ((2, False), (3, True)):
        log_probs = torch.zeros(1, num_frames, LETTERS.num_symbols).log_softmax(-1).requires_grad_()
        lens, target_lens = torch.tensor([num_frames]), torch.tensor([len(labels)])
        loss = ctc_losses(log_probs, lens, torch.tensor([labels]), target_lens)
        assert bool(loss.isfinite()) == is_possible
        (grad,) = torch.autograd.grad(loss.sum(), log_probs)
        assert bool(grad.any()) == is_possible
    empty = torch.zeros(1, 0, LETTERS.num_symbols)
    none = torch.tensor([0])
    assert ctc_losses(empty, none, torch.tensor([labels]), target_lens).isinf().all()
    assert ctc_losses(empty, none, torch.tensor([labels]), none).tolist() == [0.0]


def test_what_is_not_finite_shows() -> None:
    log_probs, lens, targets, target_lens = example(3, 20, 5)
    target_lens[1] = 3
    log_probs[1, 4, targets[1, 2]] = math.nan
    losses = ctc_losses(log_probs, lens, targets, target_lens)
    assert losses.isnan().tolist() == [False, True, False]


def test_a_symbol_of_probability_0_is_never_decoded() -> None:
    log_probs = torch.full((1, 3, LETTERS.num_symbols), -math.inf)
    log_probs[0, :, 0] = log_probs[0, :, 5] = math.log(0.5)
    lens, target_lens = torch.tensor([3]), torch.tensor([1])
    here = log_probs.requires_grad_()
    loss = ctc_losses(here, lens, torch.tensor([[5]]), target_lens)
    # Of the 8 ways 6 say the label once: all but three blanks, and 5-5 around a blank.
    torch.testing.assert_close(loss, torch.tensor([-math.log(6 / 8)]))
    (grad,) = torch.autograd.grad(loss.sum(), here)
    torch.testing.assert_close(grad[0, :, 5], -torch.tensor([3, 4, 3]) / 6)
    assert not grad[0, :, 6].any()
    assert ctc_losses(here, lens, torch.tensor([[6]]), target_lens).isinf().all()
    log_probs = log_probs.detach()
    log_probs[0, :, 0], log_probs[0, :, 5] = -math.inf, 0.0
    assert ctc_losses(log_probs, lens, torch.tensor([[5]]), target_lens).tolist() == [0.0]
    assert ctc_losses(log_probs, lens, torch.tensor([[6, 6]]), 2 * target_lens).isinf().all()


def test_rows_do_not_depend_on_each_other_or_on_threads() -> None:
    log_probs, lens, targets, target_lens = example(5, 60, 20)
    before = torch.get_num_threads()
    try:
        together = []
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            together.append(ctc_losses(log_probs, lens, targets, target_lens))
    finally:
        torch.set_num_threads(before)
    rows = (slice(row, row + 1) for row in range(5))
    alone = [ctc_losses(log_probs[r], lens[r], targets[r], target_lens[r]) for r in rows]
    assert torch.equal(together[0], together[1])
    assert torch.equal(together[0], torch.cat(alone))


def test_without_a_compiler_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = example(3, 30, 9)
    ours = ctc_losses(*inputs)
    monkeypatch.setattr(kernel, "library", lambda: None)
    torchs = ctc_losses(*inputs)
    torch.testing.assert_close(ours, torchs)
    assert not torch.equal(ours, torchs), "each has its own rounding"
