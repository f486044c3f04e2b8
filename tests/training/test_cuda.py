"""Training on CUDA. The files beside this one hold each test's twin on the CPU."""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.batches import Dataset
from bench.data.units import LETTERS
from bench.training import checkpoint
from bench.training.ctc import ctc_losses
from bench.training.device import resolve_device
from bench.training.evaluate import evaluate
from bench.training.loop import TrainingData
from tests.training.conftest import EXTRAS
from variants.spec import AcousticModel

# Read by cuBLAS when this process first computes on CUDA, which may be before a test in here does.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.cuda
MakeRun = Callable[..., Any]
CPU = torch.device("cpu")


@pytest.fixture
def cuda() -> torch.device:
    return resolve_device("cuda")


def test_learns_its_data_by_heart(run: MakeRun, data: TrainingData, cuda: torch.device) -> None:
    easy = run(
        cuda,
        **{"training.num_epochs": 12, "training.eval_every_epochs": 4, "model.width": 48},
        **{"model.dropout": 0.0, "augment.num_freq_masks": 0, "augment.num_time_masks": 0},
    )
    easy.data = replace(data, valid=data.train)
    result = easy()
    assert result.state == "finished"
    assert result.final["valid/wer"] <= 0.05
    losses = [p.metrics["train/loss"] for p in easy.reports]
    assert losses[-1] < 0.1 < 2 < losses[0]
    assert 0 < result.peak_memory_bytes < 2**30


def test_first_steps_are_those_of_the_cpu(run: MakeRun, cuda: torch.device) -> None:
    """Dropout alone draws other numbers there."""
    changes = {"model.dropout": 0.0, "training.log_every_steps": 1, "training.num_epochs": 1}
    here, there = run(CPU, **changes), run(cuda, **changes)
    here()
    there(precision=torch.float32)
    for ours, theirs in zip(here.reports[:2], there.reports[:2], strict=True):
        assert theirs.metrics["train/loss"] == pytest.approx(ours.metrics["train/loss"], rel=1e-3)
    for ours, theirs in zip(here.reports, there.reports, strict=True):
        assert theirs.metrics["train/loss"] == pytest.approx(ours.metrics["train/loss"], rel=0.05)


@pytest.mark.parametrize("extras", [{}, EXTRAS])
def test_steps_do_not_wait_for_the_device(
    run: MakeRun, cuda: torch.device, extras: dict[str, Any]
) -> None:
    """More steps, no more waits."""
    seldom = {"training.log_every_steps": 99, "training.checkpoint_every_seconds": 1e9}
    changes = extras | seldom | {"batches.batch_seconds": 0.9}
    run(cuda, **changes).dying_after(4)  # what is waited for once, such as a kernel's compilation
    counts = [waits(run(cuda, **changes), num_steps) for num_steps in (1, 4)]
    assert counts[0].total() == counts[1].total(), counts


def waits(quiet: Any, num_steps: int) -> Counter[str]:
    """How often the host waits in so many steps, by the line of Python where it does."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            quiet.dying_after(num_steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [w for w in caught if "synchronizing CUDA" in str(w.message)]
    return Counter(f"{Path(w.filename).name}:{w.lineno}" for w in found)


@pytest.mark.parametrize("extras", [{}, EXTRAS])
def test_deterministic_runs_resume_bit_for_bit(
    run: MakeRun, cuda: torch.device, extras: dict[str, Any]
) -> None:
    changes = extras | {
        "training.deterministic": True,
        "training.checkpoint_every_seconds": 0.0,
    }
    undisturbed, killed = run(cuda, **changes), run(cuda, **changes)
    undisturbed()
    for num_steps in (3, 2, 4):
        torch.manual_seed(num_steps)
        killed.dying_after(num_steps)
    killed()
    assert killed.left() == undisturbed.left()
    assert killed.left("best.pt") == undisturbed.left("best.pt")
    assert killed.curves == undisturbed.curves


def test_evaluation_hears_what_the_cpu_hears(
    run: MakeRun, data: TrainingData, cuda: torch.device
) -> None:
    result = run(cuda, **{"training.num_epochs": 6})()
    found = {}
    for device in (CPU, cuda):
        trained = checkpoint.load_model(result.best_checkpoint, device)
        model, config = trained.network, trained.config
        precision = torch.float32
        found[device] = evaluate(model, data.train, config.batches, device, precision=precision)
    here, there = found[CPU], found[cuda]
    assert there.loss == pytest.approx(here.loss, rel=1e-4)
    assert [s.hyp for s in there.scores] == [s.hyp for s in here.scores]
    assert there.blank_share == pytest.approx(here.blank_share, abs=0.01)


def test_loss_and_gradient_are_those_of_the_cpu(cuda: torch.device) -> None:
    rng = torch.Generator().manual_seed(0)
    log_probs = torch.randn(6, 90, 29, generator=rng).log_softmax(-1)
    lens, target_lens = torch.tensor([90, 80, 70, 60, 50, 3]), torch.tensor([30, 20, 0, 10, 1, 9])
    targets = torch.randint(1, 4, (6, 30), generator=rng)
    losses, grads = [], []
    for device in (CPU, cuda):
        here = log_probs.to(device).requires_grad_()
        # Through a softmax, since torch's gradient is that of what goes into one.
        given = (tensor.to(device) for tensor in (lens, targets, target_lens))
        found = ctc_losses(here.log_softmax(-1), *given)
        (grad,) = torch.autograd.grad(found[:-1].sum(), here)
        losses.append(found.detach().cpu())
        grads.append(grad.cpu())
    torch.testing.assert_close(losses[1], losses[0])
    assert losses[1][-1].isinf()
    torch.testing.assert_close(grads[1][:-1], grads[0][:-1], atol=2e-5, rtol=1e-3)


class Hungry(AcousticModel):
    """Takes 32 MiB of the device for each utterance of a batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(24, 29)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return feat_lens_B

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        feats_BTF.new_empty(len(feats_BTF), 2**23)
        return self.linear(feats_BTF).log_softmax(dim=-1), feat_lens_B


def test_a_device_too_small_for_a_batch_gets_it_in_two_parts(
    run: MakeRun, data: TrainingData, cuda: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    large = run(cuda, **{"batches.batch_seconds": 20.0})
    large.data = replace(
        data,
        valid=Dataset((), data.train.store, LETTERS),
        watch=Dataset((), data.train.store, LETTERS),
    )
    assert len(data.train) == 10
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved() + 240 * 2**20
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        result = large(Hungry())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert result.state == "finished"
    assert "with 2 micro-batches" in caplog.text
