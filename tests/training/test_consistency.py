"""CR-CTC: the term by itself, the two views of a batch, and what a step makes of them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.data.batches import epoch_order
from bench.data.units import LETTERS
from bench.scoring import METRICS
from bench.training.clocks import Clocks
from bench.training.config import TrainingConfig
from bench.training.consistency import consistency_losses
from variants.spec import AcousticModel

MakeRun = Callable[..., Any]
ALIKE = {"augment.num_freq_masks": 0, "augment.num_time_masks": 0}
WITHOUT_NOISE = {"model.norm": "none", "model.dropout": 0.0}


def divergence(of: list[float], from_: list[float]) -> float:
    """KL(of ‖ from_) of two lists of probabilities, as in textbooks."""
    return sum(p * math.log(p / q) for p, q in zip(of, from_, strict=True))


def two_utterances(requires_grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [4, 5, 3] of two views each; output frames; symbols."""
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 3, requires_grad=requires_grad)
    return logits, torch.tensor([5, 5, 3, 3]), torch.tensor([2, 2, 1, 1])


# --- the term ----------------------------------------------------------------------------------


def test_equals_the_formula() -> None:
    logits, out_lens, target_lens = two_utterances()
    found = consistency_losses(logits.log_softmax(-1), out_lens, target_lens)
    probs = logits.double().softmax(-1).tolist()
    pairs = ((0, 1, 5, 2), (1, 0, 5, 2), (2, 3, 3, 1), (3, 2, 3, 1))
    expected = [
        sum(divergence(probs[other][u], probs[row][u]) for u in range(num_frames)) / num_symbols
        for row, other, num_frames, num_symbols in pairs
    ]
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-5, atol=1e-6)
    assert expected[0] != pytest.approx(expected[1], rel=0.01), "or the direction is not seen"


def test_padding_does_not_count() -> None:
    logits, out_lens, target_lens = two_utterances()
    found = consistency_losses(logits.log_softmax(-1), out_lens, target_lens)
    logits[2:, 3:] = 9 * torch.randn(2, 2, 3)
    again = consistency_losses(logits.log_softmax(-1), out_lens, target_lens)
    assert torch.equal(found, again)


def test_equal_views_have_a_consistency_loss_of_zero() -> None:
    logits, out_lens, target_lens = two_utterances()
    alike = logits[::2].repeat_interleave(2, dim=0).log_softmax(-1)
    assert consistency_losses(alike, out_lens, target_lens).tolist() == [0, 0, 0, 0]


def test_each_view_learns_from_the_other_and_the_other_not_from_it() -> None:
    """The gradient of KL(p ‖ softmax(z)) is softmax(z) - p; that through p would come on top."""
    logits, out_lens, target_lens = two_utterances(requires_grad=True)
    losses = consistency_losses(logits.log_softmax(-1), out_lens, target_lens)
    (alone,) = torch.autograd.grad(losses[0], logits, retain_graph=True)
    (found,) = torch.autograd.grad(losses.sum(), logits)
    probs = logits.detach().softmax(-1)
    expected = (probs - probs[[1, 0, 3, 2]]) / target_lens[:, None, None]
    expected[2:, 3:] = 0
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(alone[0], expected[0])
    assert not alone[1:].any()


def test_is_in_float32_and_an_empty_text_counts_as_one_symbol() -> None:
    logits, out_lens, _ = two_utterances()
    log_probs = logits.log_softmax(-1)
    found = consistency_losses(log_probs, out_lens, torch.tensor([0, 0, 1, 1]))
    one = consistency_losses(log_probs, out_lens, torch.tensor([1, 1, 1, 1]))
    assert torch.equal(found, one)
    half = log_probs.bfloat16()
    found, expected = (
        consistency_losses(given, out_lens, torch.tensor([1, 1, 1, 1]))
        for given in (half, half.float())
    )
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


# --- the views ---------------------------------------------------------------------------------


class Listener(AcousticModel):
    """A tiny network that keeps what it heard in training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(24, 29)
        self.heard: list[tuple[Tensor, Tensor]] = []

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return feat_lens_B

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.heard.append((feats_BTF.clone(), feat_lens_B.clone()))
        return self.linear(feats_BTF).log_softmax(dim=-1), feat_lens_B


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment.tempo_change": 0.3},
        {**ALIKE, "augment.tempo_change": 0.3, "augment.frequency_warp": 0.2},
        {"augment.tempo_change": 0.3, "training.num_micro_batches": 2},
    ],
)
def test_views_differ_in_masks_and_warp_and_share_the_tempo(
    run: MakeRun, changes: dict[str, Any]
) -> None:
    twice = run(**{"training.consistency_weight": 0.2, "training.num_epochs": 1}, **changes)
    model = Listener()
    twice(model)
    num_pairs = num_different = 0
    for feats_BTF, lens_B in model.heard:
        assert torch.equal(lens_B[::2], lens_B[1::2])
        one, other = feats_BTF[::2], feats_BTF[1::2]
        num_pairs += len(one)
        num_different += sum(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
        if not changes.get("augment.frequency_warp"):  # where neither hides, both hear the same
            assert ((one == other) | (one == 0) | (other == 0)).all()
            assert (one == other).any()
    assert num_pairs == len(twice.data.train)
    assert num_different > 0.9 * num_pairs
    if "augment.tempo_change" in changes:
        lengths = sorted(n for _, lens_B in model.heard for n in lens_B[::2].tolist())
        assert lengths != sorted(twice.data.train.num_frames.tolist())


def test_without_any_difference_both_views_are_the_plain_batch(run: MakeRun) -> None:
    plain, twice = (
        run(**WITHOUT_NOISE, **ALIKE, **{"training.consistency_weight": weight})
        for weight in (0.0, 0.7)
    )
    plain()
    twice()
    for a, b in zip(plain.reports, twice.reports, strict=True):
        assert b.metrics["train/consistency"] == pytest.approx(0, abs=1e-6)
        for name in ("train/loss", "train/grad_norm", "valid/loss"):
            if name in a.metrics:
                assert b.metrics[name] == pytest.approx(a.metrics[name], rel=1e-3), name


def test_dropout_alone_makes_the_views_differ(run: MakeRun) -> None:
    dropped = run(**ALIKE, **{"model.dropout": 0.2, "training.consistency_weight": 0.2})
    dropped()
    assert dropped.reports[-1].metrics["train/consistency"] > 1e-4


# --- the step ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.2, 3.0])
def test_a_step_goes_down_the_mean_ctc_loss_and_the_weighted_term(
    run: MakeRun, weight: float
) -> None:
    """Loss, term and gradient of the first step once more, view by view."""
    changes = {"training.consistency_weight": weight, "training.log_every_steps": 1}
    stepping = run(**changes, **{"training.num_epochs": 1})
    model, initial = Listener(), Listener()
    stepping(model)
    dataset = stepping.data.train
    first, *_ = epoch_order(dataset, stepping.config.batches, seed=0, epoch=0)
    feats_BTF, lens_B = model.heard[0]
    ctc, term = [], []
    for place, index in enumerate(first):
        labels = torch.tensor(LETTERS.encode(dataset.utterances[index].text))
        rows = slice(2 * place, 2 * place + 2)
        one, two = initial.linear(feats_BTF[rows, : lens_B[2 * place]]).log_softmax(-1)
        for this, other in ((one, two), (two, one)):
            loss = nn.functional.ctc_loss(this, labels, [len(this)], [len(labels)], reduction="sum")
            ctc.append(loss / len(labels))
            fixed = other.detach()
            term.append((fixed.exp() * (fixed - this)).sum() / len(labels))
    mean_ctc, mean_term = torch.stack(ctc).mean(), torch.stack(term).mean()
    objective = mean_ctc + weight * mean_term
    grads = torch.autograd.grad(objective, list(initial.linear.parameters()))
    told = stepping.reports[0].metrics
    assert told["train/loss"] == pytest.approx(mean_ctc.item(), rel=1e-4)
    assert told["train/consistency"] == pytest.approx(mean_term.item(), rel=1e-4)
    norm = math.sqrt(sum(grad.square().sum().item() for grad in grads))
    assert told["train/grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_curves_and_audio_are_those_of_one_hearing(run: MakeRun) -> None:
    changes = {"augment.tempo_change": 0.2}
    plain, twice = run(**changes), run(**changes, **{"training.consistency_weight": 0.2})
    results = plain(), twice()
    assert results[0].num_steps == results[1].num_steps
    for a, b in zip(plain.reports, twice.reports, strict=True):
        assert b.metrics.keys() - a.metrics.keys() == {"train/consistency"}
        assert a.metrics["train/audio_hours"] == b.metrics["train/audio_hours"]
    assert "consistency" in METRICS
    once, again = (
        r.audio_seconds_per_second * Clocks(r.seconds, torch.device("cpu")).train for r in results
    )
    assert once == pytest.approx(again)


def test_off_by_default() -> None:
    assert TrainingConfig().num_views == 1
    assert TrainingConfig(consistency_weight=0.1).num_views == 2
