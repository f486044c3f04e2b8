"""Batches in parts, and runs that the device's memory is too small for.

A CPU has no such memory: a network that raises what the allocators of CUDA raise stands for it.
"""

import logging
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.batches import BatchConfig, epoch_order
from bench.training import checkpoint, memory, retry
from bench.training.config import build_model
from bench.training.evaluate import evaluate, log_probabilities
from bench.training.loop import TrainingData
from bench.training.memory import is_out_of_memory, is_shared
from variants.spec import AcousticModel

CPU = torch.device("cpu")

MakeRun = Callable[..., Any]

WITHOUT_NOISE = {
    "model.norm": "none",
    "model.dropout": 0.0,
    "batches.batch_seconds": 4.0,
    "batches.sortagrad": False,
    "training.num_epochs": 1,
}


ALLOCATORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuBLAS error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("CUDA ran out of memory outside PyTorch's allocator."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


class Cramped(AcousticModel):
    """A network for which more than so many rows at once are too much, in training or, where
    `is_cramped_in_training` is false, in evaluation."""

    def __init__(
        self,
        inner: AcousticModel,
        max_rows: int,
        error: Exception = ALLOCATORS[0],
        *,
        is_cramped_in_training: bool = True,
    ) -> None:
        super().__init__()
        self.inner, self.max_rows, self.error = inner, max_rows, error
        self.is_cramped_in_training = is_cramped_in_training
        self.num_refusals = 0
        self.num_rows: list[int] = []
        """Of each pass that it was cramped in."""
        self.held = weakref.WeakSet[Tensor]()
        """Tensors of the passes that were refused, as long as something refers to them."""

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return self.inner.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.training == self.is_cramped_in_training:
            self.num_rows.append(len(feats_BTF))
            if len(feats_BTF) > self.max_rows:
                activation = feats_BTF.clone()
                self.held.add(activation)
                self.num_refusals += 1
                raise type(self.error)(*self.error.args)  # anew: a traceback keeps tensors
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


@pytest.mark.parametrize("error", ALLOCATORS, ids=str)
def test_every_allocators_way_to_say_it_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ValueError("out of memory"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_other_errors_are_raised_as_they_are(run: MakeRun, error: Exception) -> None:
    assert not is_out_of_memory(error)
    broken = run(**{"batches.batch_seconds": 4.0})
    model = Cramped(build_model(broken.config), 0, error)
    with pytest.raises(type(error)) as caught:
        broken(model)
    assert caught.value.args == error.args
    assert model.num_refusals == 1


def test_the_cache_is_emptied_when_the_exception_and_its_tensors_are_gone(
    run: MakeRun,
    data: TrainingData,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "bench")  # a captured record holds the exception
    cramped = run(**{"batches.batch_seconds": 4.0, "batches.sortagrad": False})
    model = Cramped(build_model(cramped.config), -(-widest(cramped) // 2))
    held: list[int] = []

    def look() -> None:
        grads = sum(p.grad is not None for p in model.parameters())
        held.append(len(model.held) + grads)

    monkeypatch.setattr(torch.cuda, "empty_cache", look)
    cramped(model)
    assert held == [0]
    model.is_cramped_in_training, model.max_rows = False, 3
    model.zero_grad()
    evaluate(model, data.train, BatchConfig(), CPU)
    assert held == [0, 0, 0]


class Neighbour:
    """Another process on the GPU, which leaves after so many refusals of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Cramped, leaves_after: int) -> None:
        self._model, self._leaves_after, self._max_rows = model, leaves_after, model.max_rows
        for module in (memory, retry):
            monkeypatch.setattr(module, "is_shared", self.is_there)

    def is_there(self, _: torch.device) -> bool:
        if self._model.num_refusals >= self._leaves_after:
            self._model.max_rows = 1000
        return True


def test_on_a_shared_gpu_the_same_size_is_tried_first(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"batches.batch_seconds": 4.0, "batches.sortagrad": False}
    undisturbed, cramped = run(**changes), run(**changes)
    undisturbed()
    model = Cramped(build_model(cramped.config), 1)
    Neighbour(monkeypatch, model, leaves_after=1)
    result = cramped(model)
    assert (result.state, result.num_micro_batches) == ("finished", 1)
    assert "out of memory on a shared GPU; trying again from step 0" in caplog.text
    assert cramped.curves == undisturbed.curves


def test_and_then_smaller_parts(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    cramped = run(**{"batches.batch_seconds": 4.0, "batches.sortagrad": False})
    model = Cramped(build_model(cramped.config), -(-widest(cramped) // 2))
    Neighbour(monkeypatch, model, leaves_after=99)
    result = cramped(model)
    assert (result.state, result.num_micro_batches) == ("finished", 2)
    assert model.num_refusals == 2
    hopeless = run(**{"batches.batch_seconds": 4.0, "batches.sortagrad": False})
    model = Cramped(build_model(hopeless.config), 0)
    Neighbour(monkeypatch, model, leaves_after=99)
    with pytest.raises(torch.OutOfMemoryError):
        hopeless(model)
    assert model.num_refusals == 3


def test_memory_that_is_gone_before_the_first_checkpoint_is_an_end(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = run()
    model = Cramped(build_model(early.config), 0, MemoryError())
    monkeypatch.setattr(model, "to", lambda _: model(torch.zeros(1, 9, 24), torch.tensor([9])))
    with pytest.raises(torch.OutOfMemoryError):
        early(model)
    assert not early.directory.exists()


@pytest.mark.parametrize("max_rows", [1, 2, 3, 7])
def test_an_evaluation_goes_in_halves(data: TrainingData, tiny: Any, max_rows: int) -> None:
    model = build_model(tiny())
    whole = evaluate(model, data.train, BatchConfig(), CPU)
    cramped = Cramped(model, max_rows, is_cramped_in_training=False)
    found = evaluate(cramped, data.train, BatchConfig(), CPU)
    assert found.scores == whole.scores
    assert found.loss == pytest.approx(whole.loss, rel=1e-5)
    assert (found.blank_share, found.empty_share) == (whole.blank_share, whole.empty_share)
    heard = [n for n in cramped.num_rows if n <= max_rows]
    assert sum(heard) == len(data.train)
    refused = [n for n in cramped.num_rows if n > max_rows]
    assert all(later == -(-earlier // 2) for earlier, later in pairwise(refused))


def test_outputs_for_several_decodings_are_computed_in_parts_too(
    data: TrainingData, tiny: Any
) -> None:
    model = build_model(tiny())
    cramped = Cramped(model, 3, is_cramped_in_training=False)
    whole, parts = (log_probabilities(m, data.train, BatchConfig(), CPU) for m in (model, cramped))
    assert cramped.num_refusals
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_later_batches_of_an_evaluation_begin_with_parts_as_small(
    data: TrainingData, tiny: Any
) -> None:
    model = Cramped(build_model(tiny()), 2, is_cramped_in_training=False)
    evaluate(model, data.train, BatchConfig(batch_seconds=1.0), CPU)
    first = model.num_rows.index(2)
    assert model.num_refusals == first, "only the first batch is refused"
    assert sum(model.num_rows[first:]) == len(data.train)


def test_an_evaluation_on_a_shared_gpu_tries_the_same_size_first(
    data: TrainingData, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Cramped(build_model(tiny()), 2, is_cramped_in_training=False)
    Neighbour(monkeypatch, model, leaves_after=1)
    evaluate(model, data.train, BatchConfig(), CPU)
    assert model.num_rows == [10, 10]


def test_an_utterance_that_memory_is_too_small_for_ends_an_evaluation(
    data: TrainingData, tiny: Any
) -> None:
    model = Cramped(build_model(tiny()), 0, ALLOCATORS[3], is_cramped_in_training=False)
    with pytest.raises(torch.OutOfMemoryError, match="CUDNN_STATUS_ALLOC_FAILED"):
        evaluate(model, data.train, BatchConfig(), CPU)
    assert model.num_rows == [10, 5, 3, 2, 1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float, float], bool]]:
    """Whether a GPU of 24 GB with so much free, of which we have reserved so much, is shared."""

    def shared(free_gb: float, reserved_gb: float) -> bool:
        sizes = round(free_gb * 2**30), 24 * 2**30
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: sizes)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: round(reserved_gb * 2**30))
        return is_shared(torch.device("cuda"))

    return shared


def test_a_gpu_counts_as_shared_if_other_processes_use_much_memory(
    gpu: Callable[[float, float], bool],
) -> None:
    assert not gpu(3.5, 20)  # the rest is our context
    assert gpu(3.5, 8)
    assert not is_shared(CPU)


@pytest.mark.parametrize("error", [ALLOCATORS[1], *ALLOCATORS[-2:]], ids=str)
def test_a_checkpoint_that_memory_is_too_small_for_is_not_taken_for_damaged(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Or the run would throw it away and begin anew."""
    begun = run(**{"training.num_epochs": 1})
    begun(stop=lambda _: True)

    def load(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(type(error)):
        checkpoint.load(begun.directory / "checkpoints" / "last.pt", CPU)
    with pytest.raises(type(error)):
        begun()
    monkeypatch.undo()
    assert begun.left()["loop"]["step"] > 0
