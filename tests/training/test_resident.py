"""Trainings whose features are on the device, run on the CPU: not a bit differs from those of host batches."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from bench.data.resident import ResidentFeatures
from bench.training import loop
from bench.training.clocks import Clocks
from bench.training.inputs import InputPlan
from bench.training.loop import TrainingData
from bench.training.step import train_step
from tests.training.conftest import EXTRAS, Configure
from tests.training.test_capture import CPU, MakeRun, setting
from tests.training.test_inputs import Watching, state_of

SETTINGS = [{}, EXTRAS | {"training.num_micro_batches": 2}]


@pytest.mark.parametrize("extras", SETTINGS)
def test_a_whole_run_is_the_same(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, extras: dict[str, Any]
) -> None:
    """Also one that is resumed there after it began with host batches."""
    changes = extras | {"training.checkpoint_every_seconds": 0.0}
    host, resident = run(**changes), run(**changes)
    host()
    resident.dying_after(2)
    gathered = []

    class Counted(ResidentFeatures):
        def gather(self, places_BT1: torch.Tensor) -> torch.Tensor:
            gathered.append(len(places_BT1))
            return super().gather(places_BT1)

    monkeypatch.setattr(loop, "resident_features", Counted)
    resident()
    assert sum(gathered) == 3 * len(host.data.train) - sum(
        len(batch) for batch in islice(_batches(host), 2)
    )
    assert resident.left() == host.left()
    assert resident.left("best.pt") == host.left("best.pt")
    assert resident.curves == host.curves


@pytest.mark.cuda
def test_a_whole_run_on_a_gpu_is_the_same(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = EXTRAS | {"training.deterministic": True}
    resident, host = (run(torch.device("cuda"), **changes) for _ in range(2))
    resident()
    monkeypatch.setattr(loop, "resident_features", lambda *_: None)
    host()
    assert resident.left() == host.left()


def _batches(run: Any) -> Any:
    return loop.epoch_order(run.data.train, run.config.batches, seed=run.config.seed, epoch=0)


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("has_shapes", [False, True])
def test_places_are_padded_and_divided_as_features_are(
    tiny: Configure, data: TrainingData, num_ranks: int, has_shapes: bool
) -> None:
    """Frames and rows of padding point to zeros."""
    _, plan = setting(tiny(**EXTRAS), data)
    features = ResidentFeatures(data.train, CPU)
    for rank in range(num_ranks):
        shapes = plan.shapes if has_shapes else None
        host = replace(plan, shapes=shapes, rank=rank, num_ranks=num_ranks)
        resident = replace(host, are_resident=True)
        pairs = zip(_inputs(host), _inputs(resident), strict=True)
        for one, other in pairs:
            assert other.feats_NTF.shape == (*one.feats_NTF.shape[:2], 1)
            assert torch.equal(features.gather(other.feats_NTF).float(), one.feats_NTF)
            assert (one.parts, one.extent) == (other.parts, other.extent)


def _inputs(plan: InputPlan) -> Any:
    return islice(plan.from_step(0, epoch=0, batch=0), 6)


def test_a_step_copies_places_alone(tiny: Configure, data: TrainingData) -> None:
    """And waits for nothing, as with host batches."""
    trained, plan = setting(tiny(**EXTRAS, **{"model.dropout": 0.0}), data)
    features = ResidentFeatures(data.train, CPU)
    trained, plan = replace(trained, features=features), replace(plan, are_resident=True)
    first, second = islice(plan.from_step(0, epoch=0, batch=0), 2)
    copied = sum(tensor.nbytes for tensor in second.tensors())
    frames, bins = second.feats_NTF.shape[:2].numel(), data.train.store.config.num_bins
    assert copied < 2 * frames * bins, "less than the features alone"
    train_step(trained, first, Clocks({}, CPU))
    with Watching([*state_of(trained), features._feats_NF, *second.tensors()]):
        row = train_step(trained, second, Clocks({}, CPU))
    assert row.isfinite().all()
