"""Recovery when the device's memory runs out.

Allocators report it in different words (`is_out_of_memory`). The response is the same: release the
tensors of the failed attempt; on a GPU with other processes retry the same size, since their peak
may have passed; then retry with half the size.
"""

import gc
import logging
import math
import re
from collections.abc import Callable
from typing import TypeVar

import torch

OTHERS_BYTES = 2**30
"""A GPU counts as shared if more than this is allocated beyond what this process has reserved. Less
may be this process's own CUDA context and libraries (0.3 to 0.6 GiB)."""

# torch's own allocators say "out of memory" (CUDA, HIP, MPS) or "can't allocate memory" (CPU), the
# CUDA runtime "CUDA error: out of memory", its libraries the name of a status such as
# CUBLAS_STATUS_ALLOC_FAILED or CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED. cuBLAS says
# CUBLAS_STATUS_NOT_INITIALIZED if there is no memory for its handle, and cuDNN finds no engine if
# there is none for the workspace of any.
_SAID = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|ALLOC(ATION)?_FAILED"
    r"|CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine",
    re.IGNORECASE,
)

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """True if `error` says that memory ran out, on a device or on its host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAID.search(str(error)) is not None


def is_shared(device: torch.device) -> bool:
    """True if other processes hold memory of the GPU `device`."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device) > OTHERS_BYTES


def release() -> None:
    """Return unreferenced memory to the device.

    Call it outside the ``except`` block: an exception's traceback refers to every tensor of the
    attempt that failed.
    """
    gc.collect()
    torch.cuda.empty_cache()


class Parts:
    """Computes a batch in several parts if it does not fit into the device's memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._num_parts = 1

    def __call__(self, compute: Callable[[slice], T], num_rows: int) -> list[T]:
        """The results of `compute` for consecutive slices that cover `num_rows` rows of a batch.

        A slice that does not fit is retried unchanged on a shared GPU, then halved; later batches
        begin with slices as small.

        Raises:
            torch.OutOfMemoryError: a single row is too large.
        """
        #     rows       0 1 2 3 4 5 6 7
        #     try        [- out of memory ]
        #     try        [ done ][- out -]
        #     try        [ done ][d ][d  ]      the next batch begins with four parts
        done: list[T] = []
        size, first, is_retry = math.ceil(num_rows / self._num_parts), 0, False
        while first < num_rows:
            try:
                done.append(compute(slice(first, first + size)))
                first, is_retry = first + size, False
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                is_retry = not is_retry and is_shared(self._device)
                if size == 1 and not is_retry:
                    raise torch.OutOfMemoryError(str(error)) from error
            release()
            if not is_retry:
                self._num_parts, size = 2 * self._num_parts, math.ceil(size / 2)
            what = "the same size again" if is_retry else f"{size} utterances at once"
            _logger.warning("out of memory in an evaluation; trying %s", what)
        return done
