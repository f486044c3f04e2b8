"""A step that is skipped leaves nothing behind, whatever was not finite in it."""

import math
from collections.abc import Callable, Container
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.seeding import derive
from bench.training import checkpoint, loop, step
from bench.training.evaluate import evaluate
from bench.training.step import Buffers
from tests.training.conftest import EXTRAS
from variants.ops.normalization import MaskedBatchNorm

CPU = torch.device("cpu")
MakeRun = Callable[..., Any]

EVERY_STEP = {"training.checkpoint_every_seconds": 0.0, "training.log_every_steps": 1}


class Faults:
    """Makes something of chosen steps not finite; steps count from 0, over all resumes. `seed` is
    the run's, which takes at most `num_steps`."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        steps: Container[int],
        kind: str,
        *,
        seed: int = 0,
        num_steps: int = 100,
    ) -> None:
        self._steps, self._kind, self._step = steps, kind, -1
        # The seed of a step's dropout tells which one it is.
        self._seeds = {derive(seed, "dropout", number): number for number in range(num_steps)}
        monkeypatch.setattr(loop, "seed_torch", self.noted(loop.seed_torch))
        for name in ("augment", "ctc_losses"):
            monkeypatch.setattr(step, name, getattr(self, name)(getattr(step, name)))
        monkeypatch.setattr(MaskedBatchNorm, "forward", self.normalize(MaskedBatchNorm.forward))

    def strikes(self, *kinds: str) -> bool:
        return self._step in self._steps and self._kind in kinds

    def noted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def seed(number: int, device: torch.device) -> None:
            self._step = self._seeds[number]
            real(number, device)

        return seed

    def augment(self, real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def faulty(*args: Any) -> Tensor:
            feats_BTF = real(*args).clone()
            if self.strikes("one NaN", "one infinity"):
                feats_BTF[0, 0, 0] = math.nan if self._kind == "one NaN" else math.inf
            return feats_BTF

        return faulty

    def normalize(self, real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def faulty(norm: MaskedBatchNorm, x: Tensor, lens_B: Tensor) -> Tensor:
            y = real(norm, x, lens_B)
            if self.strikes("variance"):
                norm.running_var[0] = math.inf
            return y

        return faulty

    def ctc_losses(self, real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def faulty(log_probs: Tensor, lens_B: Tensor, *targets: Tensor) -> Tensor:
            if self.strikes("infeasible"):
                lens_B = lens_B.clone()
                lens_B[0] = 1
            losses_B = real(log_probs, lens_B, *targets)
            if self.strikes("gradient"):
                steep_B = losses_B * 1e36
                losses_B = losses_B + (steep_B - steep_B.detach())
            return losses_B

        return faulty


KINDS = ["one NaN", "one infinity", "variance", "infeasible", "gradient"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_skipped_step_leaves_nothing_behind(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, kind: str, optimizer: str
) -> None:
    Faults(monkeypatch, [4], kind)
    faulty = run(**EVERY_STEP, **EXTRAS, **{"optim.optimizer": optimizer})
    faulty.dying_after(4)
    before = faulty.left()
    faulty.dying_after(1)
    after = faulty.left()
    assert after["loop"]["step"] == before["loop"]["step"] + 1
    assert after["loop"]["num_nonfinite"] == 1
    for key in ("model", "average"):
        assert after[key] == before[key], key
    assert after["optimizer"]["state"] == before["optimizer"]["state"]
    faulty.dying_after(1)
    assert faulty.left()["model"] != before["model"], "the next step is taken"


@pytest.mark.parametrize("num_parts", [2, 100])
def test_nor_does_one_whose_batch_goes_in_parts(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, num_parts: int
) -> None:
    Faults(monkeypatch, [1], "one NaN")
    faulty = run(**EVERY_STEP, **{"training.num_micro_batches": num_parts})
    faulty.dying_after(1)
    before = faulty.left()
    faulty.dying_after(1)
    assert faulty.left()["model"] == before["model"]


def test_a_statistic_that_is_not_finite_is_counted_and_named(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a variance overflows, all is normalised to zeros: loss and gradient are finite."""
    Faults(monkeypatch, [4], "variance")
    faulty = run()
    result = faulty()
    assert (result.state, result.num_nonfinite) == ("finished", 1)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "step 5 is left out: loss" in message
    assert "nan" not in message
    assert ", running statistics inf; its batch: " in message
    assert all(math.isfinite(p.metrics["valid/loss"]) for p in faulty.evaluations)


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_over_skipped_steps_is_exact(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    Faults(monkeypatch, (2, 5, 6), kind)
    changes = EXTRAS | {"training.checkpoint_every_seconds": 0.0}
    undisturbed, killed = run(**changes), run(**changes)
    undisturbed()
    for num_steps in (3, 2, 1):
        killed.dying_after(num_steps)
    result = killed()
    assert result.num_nonfinite == 3
    assert killed.left() == undisturbed.left()
    assert killed.left("best.pt") == undisturbed.left("best.pt")
    assert killed.curves == undisturbed.curves


def test_a_run_with_a_batch_that_is_not_finite_in_epoch_2_learns_as_well(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By heart, as it does without; batch normalisation's statistics decide what it says."""
    changes = {
        "training.num_epochs": 12, "model.width": 48, "model.dropout": 0.0,
        "augment.num_freq_masks": 0, "augment.num_time_masks": 0,
    }  # fmt: skip
    wers = []
    for steps in ((), (6,)):
        with monkeypatch.context() as patch:
            Faults(patch, steps, "one NaN")
            learning = run(**changes)
            assert learning().num_nonfinite == len(steps)
        last = learning.directory / "checkpoints" / "last.pt"
        trained = checkpoint.load_model(last, CPU)
        model, config = trained.network, trained.config
        wers.append(evaluate(model, learning.data.train, config.batches, CPU).totals.wer)
    assert wers == pytest.approx([0.0, 0.0], abs=0.05)


def test_buffers_are_restored_only_on_request() -> None:
    norm = MaskedBatchNorm(3)
    norm.register_buffer("num_passes", torch.tensor(4))
    buffers = Buffers(norm)
    buffers.save()
    norm.num_passes += 1
    norm.running_var[1] = math.nan
    norm.running_mean[0] = -7.0
    assert buffers.largest().isnan()
    buffers.restore_if(torch.tensor(False))
    assert (norm.num_passes, norm.running_mean[0]) == (5, -7)
    buffers.restore_if(torch.tensor(True))
    assert norm.num_passes == 4
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]
    assert buffers.largest() == 1
    assert Buffers(torch.nn.Linear(2, 2)).largest() == 0
