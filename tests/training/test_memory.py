"""Batches in parts, and runs that the device's memory is too small for.

A CPU has no such memory: a network that raises what CUDA's allocator raises stands for it.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.batches import epoch_order
from bench.training.config import build_model
from variants.spec import AcousticModel

MakeRun = Callable[..., Any]

WITHOUT_NOISE = {
    "model.norm": "none",
    "model.dropout": 0.0,
    "batches.batch_seconds": 4.0,
    "batches.sortagrad": False,
    "training.num_epochs": 1,
}


class Cramped(AcousticModel):
    """A network for which training on more than so many rows at once is too much."""

    def __init__(self, inner: AcousticModel, max_rows: int) -> None:
        super().__init__()
        self.inner, self.max_rows = inner, max_rows

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return self.inner.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and len(feats_BTF) > self.max_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        result: tuple[Tensor, Tensor] = self.inner(feats_BTF, feat_lens_B)
        return result


def widest(run: Any) -> int:
    """Utterances in the largest batch of the first epoch."""
    order = epoch_order(run.data.train, run.config.batches, seed=0, epoch=0)
    return max(map(len, order))


@pytest.mark.parametrize("num_parts", [2, 3, 100])
@pytest.mark.parametrize("consistency_weight", [0.0, 0.5])
def test_parts_add_up_to_the_whole(run: MakeRun, num_parts: int, consistency_weight: float) -> None:
    """But for batch normalisation, which sees a part alone, and the masks of dropout.

    With SGD: Adam divides a gradient by its size, and so turns rounding of small ones into steps.
    """
    changes = WITHOUT_NOISE | {
        "training.consistency_weight": consistency_weight,
        "optim.optimizer": "sgd",
    }
    whole = run(**changes)
    parts = run(**changes, **{"training.num_micro_batches": num_parts})
    models = build_model(whole.config), build_model(parts.config)
    whole(models[0])
    result = parts(models[1])
    assert result.num_micro_batches == num_parts
    pairs = zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True)
    for (name, one), other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    for a, b in zip(whole.reports, parts.reports, strict=True):
        assert a.metrics.keys() == b.metrics.keys()
        for name in a.metrics.keys() & {"train/loss", "train/consistency", "train/grad_norm"}:
            assert a.metrics[name] == pytest.approx(b.metrics[name], rel=1e-3), name


def test_out_of_memory_is_tried_once_more_in_smaller_parts(
    run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"batches.batch_seconds": 4.0, "batches.sortagrad": False}
    cramped = run(**changes)
    configured = run(**changes, **{"training.num_micro_batches": 2})
    enough = -(-widest(cramped) // 2)
    result = cramped(Cramped(build_model(cramped.config), enough))
    configured(Cramped(build_model(configured.config), enough))
    assert (result.state, result.num_micro_batches) == ("finished", 2)
    assert "out of memory; going on from step 0 with 2 micro-batches a batch" in caplog.text
    # The largest batch comes first, so nothing was done before; what follows is the same run.
    assert cramped.left()["model"] == configured.left()["model"]
    assert cramped.curves == configured.curves


def test_out_of_memory_late_in_a_run_loses_only_what_was_not_saved(run: MakeRun) -> None:
    late = run(**{"training.checkpoint_every_seconds": 0.0, "training.log_every_steps": 1})
    model = Cramped(build_model(late.config), max_rows=100)

    def tighten(progress: Any) -> bool:
        if progress.step == 5:
            model.max_rows = 2
        return False

    result = late(model, stop=tighten)
    assert result.state == "finished"
    steps = [p.step for p in late.reports]
    assert steps == list(range(1, result.num_steps + 1))


def test_memory_too_small_for_the_parts_as_well_is_an_end(run: MakeRun) -> None:
    hopeless = run(**{"batches.batch_seconds": 4.0, "batches.sortagrad": False})
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        hopeless(Cramped(build_model(hopeless.config), 0))
    # Nor does the next process begin the same anew.
    with pytest.raises(torch.OutOfMemoryError):
        hopeless(Cramped(build_model(hopeless.config), 0))
    assert hopeless.left()["loop"]["num_micro_batches"] == 2
