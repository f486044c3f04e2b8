"""Captured steps, with a fake graph on the CPU that runs the step again and poisons what was not static."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.seeding import seed_torch
from bench.data.resident import ResidentFeatures
from bench.training import capture
from bench.training.capture import CapturedSteps
from bench.training.clocks import Clocks
from bench.training.config import build_model
from bench.training.inputs import InputPlan, StepInputs
from bench.training.loop import TrainingData
from bench.training.shapes import plan_shapes
from bench.training.step import Trained, train_step
from tests.training.conftest import EXTRAS, Configure

CPU = torch.device("cpu")
MakeRun = Callable[..., Any]
NUM_STEPS = 30


class PoisonedGraph:
    """As a CUDA graph: to capture does no work, a replay does it again with the same tensors.

    What `work` reads besides static tensors is frozen: `poison` overwrites what the caller gave to the step that
    was captured, as freed memory would be.
    """

    num_replays = 0

    def capture(self, work: Callable[[], Tensor]) -> Tensor:
        self.work, self.row = work, torch.full((3,), float("nan"))
        return self.row

    def replay(self) -> None:
        PoisonedGraph.num_replays += 1
        row = self.work()
        if len(self.row) != len(row):
            self.row.resize_(row.shape)
        self.row.copy_(row)


def setting(config: Any, data: TrainingData) -> tuple[Trained, InputPlan]:
    model = build_model(config)
    trained = Trained.of(config, model, CPU)
    plan = InputPlan(
        config=config, dataset=data.train, output_lengths=model.output_lengths, num_steps=NUM_STEPS,
        num_micro_batches=1, device=CPU, shapes=plan_shapes(data.train, config, model.output_lengths),
    )  # fmt: skip
    return trained, plan


def rows(
    step: Any, trained: Trained, inputs: Iterator[StepInputs], *, poisons: bool
) -> list[Tensor]:
    found = []
    for given in islice(inputs, NUM_STEPS):
        seed_torch(given.dropout_seed, CPU)
        found.append(step(trained, given, Clocks({}, CPU)).clone())
        if poisons:
            for tensor in given.tensors():
                tensor.fill_(float("nan") if tensor.is_floating_point() else -(2**40))
    return found


@pytest.mark.parametrize("is_resident", [False, True])
@pytest.mark.parametrize("extras", [{}, EXTRAS])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_replays_are_steps(
    tiny: Configure, data: TrainingData, extras: dict[str, Any], optimizer: str, is_resident: bool
) -> None:
    """Losses, norms and weights bit for bit, though inputs are poisoned once they were used."""
    config = tiny(**extras, **{"optim.optimizer": optimizer, "training.num_epochs": 9})
    (eager, plan), (captured, same) = setting(config, data), setting(config, data)
    if is_resident:
        captured = replace(captured, features=ResidentFeatures(data.train, CPU))
        same = replace(same, are_resident=True)
    PoisonedGraph.num_replays = 0
    steps = CapturedSteps(PoisonedGraph)
    plain = rows(train_step, eager, plan.from_step(0, epoch=0, batch=0), poisons=False)
    replayed = rows(steps, captured, same.from_step(0, epoch=0, batch=0), poisons=True)
    assert PoisonedGraph.num_replays > NUM_STEPS // 3
    for one, other in zip(plain, replayed, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(eager.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(
        eager.average.model.parameters(), captured.average.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("extras", [{}, EXTRAS])
def test_padding_changes_nothing_but_rounding(
    tiny: Configure, data: TrainingData, extras: dict[str, Any]
) -> None:
    """A step on a padded batch is that on the batch itself."""
    config = tiny(**extras, **{"model.dropout": 0.0})
    (trained, plan), (other, same) = setting(config, data), setting(config, data)
    unpadded = InputPlan(**{**vars(same), "shapes": None})
    padded_rows = rows(train_step, trained, plan.from_step(0, epoch=0, batch=0), poisons=False)[:4]
    plain_rows = rows(train_step, other, unpadded.from_step(0, epoch=0, batch=0), poisons=False)[:4]
    torch.testing.assert_close(
        torch.stack(padded_rows), torch.stack(plain_rows), rtol=1e-3, atol=1e-4
    )


def test_what_cannot_be_captured_runs_eagerly_and_logs_the_reason_once(
    tiny: Configure, data: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(PoisonedGraph):
        def capture(self, work: Callable[[], Tensor]) -> Tensor:
            raise RuntimeError("operation not permitted when stream is capturing")

    config = tiny()
    (eager, plan), (refused, same) = setting(config, data), setting(config, data)
    plain = rows(train_step, eager, plan.from_step(0, epoch=0, batch=0), poisons=False)
    with caplog.at_level(logging.WARNING):
        found = rows(
            CapturedSteps(Refusing), refused, same.from_step(0, epoch=0, batch=0), poisons=False
        )
    assert all(map(torch.equal, plain, found))
    assert caplog.text.count("not permitted when stream is capturing") == 1


def test_a_capture_without_memory_is_out_of_memory(tiny: Configure, data: TrainingData) -> None:
    class Full(PoisonedGraph):
        def capture(self, work: Callable[[], Tensor]) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    trained, plan = setting(tiny(), data)
    with pytest.raises(torch.OutOfMemoryError):
        rows(CapturedSteps(Full), trained, plan.from_step(0, epoch=0, batch=0), poisons=False)


def test_only_on_cuda_and_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not capture.is_wanted(torch.device("cuda"))
    monkeypatch.setenv(capture.VARIABLE, "1")
    assert capture.is_wanted(torch.device("cuda"))
    assert not capture.is_wanted(CPU)


@pytest.mark.cuda
def test_captured_steps_are_eager_ones_on_a_gpu(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes = {"model.dropout": 0.0, "training.log_every_steps": 1, "training.num_epochs": 13}
    eager, captured = (run(torch.device("cuda"), **changes) for _ in range(2))
    eager()
    monkeypatch.setenv(capture.VARIABLE, "1")
    captured()
    for one, other in zip(eager.reports[:50], captured.reports[:50], strict=True):
        assert other.metrics["train/loss"] == pytest.approx(one.metrics["train/loss"], rel=0.02)
