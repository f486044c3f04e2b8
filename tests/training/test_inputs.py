"""A step copies nothing from the host and asks for no value; its inputs are a function of the step."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from bench.core.seeding import seed_torch
from bench.training.clocks import Clocks
from bench.training.loop import TrainingData
from bench.training.step import train_step
from tests.training.conftest import EXTRAS, Configure
from tests.training.test_capture import CPU, setting
from variants.ops import kernel

WAITING = (
    "_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "unique_dim",
    "unique_consecutive", "bincount", "_pin_memory",
)  # fmt: skip
"""Operations that wait for a GPU: their result is a value on the host, or has a shape that depends on values."""


class Watching(TorchDispatchMode):
    """Refuses operations that wait, and tensors that were neither given to the step nor computed in it."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in given}
        self._kept: list[Tensor] = []  # else an address would be used again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{func} waits for the device"
        if name.startswith("index"):
            indices = [t for t in tree_flatten(args[1:])[0] if isinstance(t, Tensor)]
            assert not any(t.dtype == torch.bool for t in indices), (
                f"{func} waits: its shape depends on values"
            )
        tensors = [t for t in tree_flatten((args, kwargs or {}))[0] if isinstance(t, Tensor)]
        for tensor in tensors:
            known = tensor.untyped_storage().data_ptr() in self._known or not tensor.numel()
            assert known, f"{func} reads {tuple(tensor.shape)} {tensor.dtype}, copied from the host"
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, Tensor):
                self._kept.append(tensor)
                self._known.add(tensor.untyped_storage().data_ptr())
        return result


def state_of(trained: Any) -> list[Tensor]:
    """All that a step may read besides its inputs."""
    optimizer = [
        value
        for state in trained.optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    buffers = trained.buffers
    modules = [
        t for m in (trained.model, trained.average.model) for t in (*m.parameters(), *m.buffers())
    ]
    return [*modules, *optimizer, *buffers._saved, buffers._nothing]


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("extras", [{}, EXTRAS | {"training.num_micro_batches": 2}])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_step_copies_nothing_and_asks_for_nothing(
    tiny: Configure,
    data: TrainingData,
    monkeypatch: pytest.MonkeyPatch,
    by_torch: bool,
    extras: dict[str, Any],
    cell: str,
) -> None:
    """Also with what torch computes on a GPU; the loss of kernel.c stands for Triton's there, which reads lengths
    on the device, and dropout is off: on a CPU its numbers come from the host."""
    trained, plan = setting(tiny(**extras, **{"model.cell": cell, "model.dropout": 0.0}), data)
    if by_torch:
        keep_loss(monkeypatch)
    first, second = islice(plan.from_step(0, epoch=0, batch=0), 2)
    with kernel.unused() if by_torch else nullcontext():
        train_step(
            trained, first, Clocks({}, CPU)
        )  # what is made once, such as the optimizer's state
        with Watching([*state_of(trained), *second.tensors()]):
            row = train_step(trained, second, Clocks({}, CPU))
    assert row.isfinite().all()


def keep_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is kernel.c's though all else is torch's."""
    from bench.training import ctc

    class Loss:
        library, description, call = kernel.library, kernel.description, kernel.call

        @staticmethod
        def computes(x: Tensor) -> bool:
            return True

    monkeypatch.setattr(ctc, "kernel", Loss)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("waits", lambda y, lens: y * float(y.sum().item() > -1e9)),
        ("waits", lambda y, lens: y[lens > 0]),
        (
            "copied from the host",
            lambda y, lens: y * torch.from_numpy(lens.numpy().astype("float32"))[:, None, None],
        ),
        ("copied from the host", lambda y, lens: y + torch.tensor([0.0])),
    ],
)
def test_what_copies_or_asks_is_seen(
    tiny: Configure, data: TrainingData, name: str, spoil: Callable[[Tensor, Tensor], Tensor]
) -> None:
    trained, plan = setting(tiny(**{"model.dropout": 0.0}), data)
    first, second = islice(plan.from_step(0, epoch=0, batch=0), 2)
    train_step(trained, first, Clocks({}, CPU))
    forward = trained.model.forward
    trained.model.forward = lambda feats, lens: (spoil(forward(feats, lens)[0], lens), lens)  # type: ignore[method-assign]
    with (
        pytest.raises(AssertionError, match=name),
        Watching([*state_of(trained), *second.tensors()]),
    ):
        train_step(trained, second, Clocks({}, CPU))


def test_inputs_are_a_function_of_the_step(tiny: Configure, data: TrainingData) -> None:
    """Those of a run that resumes are those of one that went on."""
    config = tiny(**EXTRAS)
    _, plan = setting(config, data)
    going_on = list(islice(plan.from_step(0, epoch=0, batch=0), 4))[2:]
    seed_torch(3, CPU)
    resumed = list(islice(plan.from_step(2, epoch=0, batch=2), 2))
    for one, other in zip(going_on, resumed, strict=True):
        assert (one.indices, one.dropout_seed) == (other.indices, other.dropout_seed)
        assert all(map(torch.equal, one.tensors(), other.tensors()))
