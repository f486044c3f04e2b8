"""A rank's copy of the network: the network itself, or one of several that train as one.

Each rank computes its rows of a batch, with the losses divided by the rows of all. Gradients are
then added up over the ranks, so that they are those of one process on the whole batch.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch.distributed as dist
from torch import Tensor
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from variants.ops import ranks
from variants.spec import AcousticModel


class Replica:
    """Calls the network. With several ranks a backward pass ends with the sum of the gradients of
    all, and losses are summed by `summed`; all ranks do the same steps."""

    def __init__(self, model: AcousticModel, num_ranks: int = 1) -> None:
        """`model` is on its device; with several ranks torch's default group exists, and all take
        the weights of rank 0."""
        self._model = model
        self._parallel: DistributedDataParallel | None = None
        if num_ranks > 1:
            # It also sends rank 0's buffers to all before each forward pass, though batch
            # normalisation keeps them equal: a variant from outside may have others.
            self._parallel = DistributedDataParallel(model)
            self._parallel.register_comm_hook(None, _sum)

    def __call__(self, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and lengths, as the network gives them, of this rank's rows."""
        if self._parallel is None:
            return cast(tuple[Tensor, Tensor], self._model(feats_BTF, lens_B))
        with ranks.batch_divided():
            return cast(tuple[Tensor, Tensor], self._parallel(feats_BTF, lens_B))

    def micro_batch(self, *, is_last: bool) -> AbstractContextManager[object]:
        """The context of forward and backward pass of a part of a batch: gradients are summed over
        the ranks with the last part."""
        if self._parallel is None or is_last:
            return nullcontext()
        return self._parallel.no_sync()

    def summed(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Tensors of one type, each added up over the ranks; without gradient."""
        return values if self._parallel is None else ranks.summed(*values)


def _sum(
    _state: object,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> Future[Tensor]:
    """DistributedDataParallel divides by the number of ranks; this hook does not."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])
