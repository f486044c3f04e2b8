"""The average of the weights, against the recursion written out, and where a run uses it."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.training import checkpoint
from bench.training.config import build_model
from bench.training.evaluate import evaluate
from bench.training.loop import TrainingData
from bench.training.model_ema import ModelEma, decay_at
from variants.ops.normalization import MaskedBatchNorm
from variants.spec import AcousticModel

CPU = torch.device("cpu")
MakeRun = Callable[..., Any]
Weights = dict[str, Tensor]


class Small(AcousticModel):
    """A network with a weight, running statistics and a counter; NaN in the passes of `bad`."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(24, 29)
        self.norm = MaskedBatchNorm(24)
        self.register_buffer("num_passes", torch.zeros((), dtype=torch.int64))
        self.bad, self.count = bad, itertools.count()

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return feat_lens_B

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            feats_BTF = feats_BTF * (math.nan if next(self.count) in self.bad else 1)
            self.num_passes += 1
        return self.linear(self.norm(feats_BTF, feat_lens_B)).log_softmax(dim=-1), feat_lens_B


def weights_of(model: nn.Module) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def recursion(steps: list[Weights], decay: float) -> dict[str, list[float]]:
    """The average after the last of `steps`, the first being the initial weights, in Python."""
    averaged = {name: value.flatten().double().tolist() for name, value in steps[0].items()}
    for step, weights in enumerate(steps[1:]):
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in weights.items():
            averaged[name] = [
                kept * old + (1 - kept) * new
                for old, new in zip(averaged[name], value.flatten().tolist(), strict=True)
            ]
    return averaged


def test_early_averages_forget_faster() -> None:
    assert [decay_at(step, 0.99) for step in (0, 8, 80)] == [1 / 10, 9 / 18, 81 / 90]
    assert decay_at(10_000, 0.99) == 0.99
    assert decay_at(0, 0.05) == 0.05


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_follows_the_recursion(decay: float) -> None:
    model = Small()
    average = ModelEma(model, decay)
    steps = [weights_of(model)]
    for step in range(12):
        with torch.no_grad():
            for value in (*model.parameters(), model.norm.running_mean, model.norm.running_var):
                value.add_(torch.randn_like(value))
            model.num_passes += 1
        average.update(1 - decay_at(step, decay), torch.tensor(False))
        steps.append(weights_of(model))
    expected, found = recursion(steps, decay), weights_of(average.model)
    assert found.pop("num_passes") == 12
    for name, value in found.items():
        torch.testing.assert_close(value.flatten().tolist(), expected[name], rtol=1e-5, atol=1e-5)
    assert average.state()["average"].keys() == model.state_dict().keys()
    assert weights_of(model).keys() == steps[-1].keys()
    assert all(torch.equal(weights_of(model)[name], value) for name, value in steps[-1].items())


def test_a_skipped_step_leaves_the_average_as_it_is() -> None:
    model = Small()
    average = ModelEma(model, 0.9)
    before = weights_of(average.model)
    with torch.no_grad():
        for value in (*model.parameters(), model.norm.running_mean):
            value.add_(1)
    average.update(0.9, torch.tensor(True))
    assert all(torch.equal(before[name], v) for name, v in weights_of(average.model).items())


def test_off_it_is_the_network_itself() -> None:
    model = Small()
    average = ModelEma(model, 0.0)
    before = weights_of(model)
    average.update(0.9, torch.tensor(False))
    assert average.model is model
    assert average.state() == {}
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())


def test_is_stored_and_logged_while_training_uses_the_weights(run: MakeRun) -> None:
    changes = {"training.log_every_steps": 1, "model.norm": "batch"}
    plain, averaged = run(**changes), run(**changes, **{"training.average_decay": 0.8})
    model = build_model(averaged.config)
    steps = [weights_of(model)]
    result = averaged(model, stop=lambda _: bool(steps.append(weights_of(model))))
    plain()
    last = checkpoint.load(averaged.directory / "checkpoints" / "last.pt", CPU)
    best = checkpoint.load(averaged.directory / "checkpoints" / "best.pt", CPU)
    until_best = [p.step for p in averaged.evaluations][result.best_epoch - 1]
    for kept, num_steps in ((last["average"], result.num_steps), (best["model"], until_best)):
        expected = recursion(steps[: num_steps + 1], 0.8)
        for name, value in kept.items():
            found = value.flatten().tolist()
            torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5)
    # The weights trained are those of a run without an average, and so is the loss they have.
    assert averaged.left()["model"] == plain.left()["model"] != averaged.left()["average"]
    pairs = list(zip(averaged.reports, plain.reports, strict=True))
    assert all(a.metrics["train/loss"] == b.metrics["train/loss"] for a, b in pairs)
    losses = [r.evaluations[0].metrics["valid/loss"] for r in (averaged, plain)]
    assert losses[0] != losses[1]
    assert "average" not in plain.left()
    assert best.keys().isdisjoint({"average"})


def test_watch_utterances_are_transcribed_with_the_average(
    run: MakeRun, data: TrainingData
) -> None:
    # A rate so high that the weights of the last step say something else.
    averaged = run(**{"optim.learning_rate": 0.2, "training.average_decay": 0.99})
    averaged.data = replace(data, watch=data.train)
    averaged()
    last = checkpoint.load(averaged.directory / "checkpoints" / "last.pt", CPU)
    model, heard = build_model(averaged.config), {}
    for key in ("model", "average"):
        model.load_state_dict(last[key])
        found = evaluate(model, data.train, averaged.config.batches, CPU)
        heard[key] = [s.hyp for s in found.scores]
    told = [watched.hyp for watched in averaged.evaluations[-1].watch]
    assert told == heard["average"] != heard["model"]


def test_a_step_left_out_does_not_poison_it(run: MakeRun) -> None:
    stumbling = run(**{"training.average_decay": 0.9})
    result = stumbling(Small(bad=(5,)))
    assert (result.state, result.num_nonfinite) == ("finished", 1)
    content = checkpoint.load(stumbling.directory / "checkpoints" / "last.pt", CPU)
    for key in ("model", "average"):
        assert all(value.isfinite().all() for value in content[key].values())
    assert content["model"]["num_passes"] == result.num_steps - 1
    assert math.isfinite(stumbling.evaluations[-1].metrics["valid/loss"])
