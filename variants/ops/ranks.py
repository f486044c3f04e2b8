"""Sums over the ranks of a run: processes with a device each that divide the rows of every batch.

What depends on all rows of a batch, such as the statistics of batch normalisation, must ask for
them here; whatever treats rows one by one need not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

_divided = ContextVar("a batch is divided among ranks", default=False)


@contextmanager
def batch_divided() -> Iterator[None]:
    """Within the block a network sees this rank's rows of a batch; in torch's default group all
    ranks compute the same operations in the same order."""
    token = _divided.set(True)
    try:
        yield
    finally:
        _divided.reset(token)


def is_batch_divided() -> bool:
    """True within `batch_divided`. A backward pass may run outside of it, in another thread: it
    asks in the forward pass and keeps the answer."""
    return _divided.get()


def summed(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The sums over all ranks of tensors of one type, in one message; the same bits on each rank.

    Not differentiable.
    """
    message = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(message)
    parts = torch.split(message, [tensor.numel() for tensor in tensors])
    return tuple(part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True))
