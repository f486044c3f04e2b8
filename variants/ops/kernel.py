"""The compiled kernel: the functions of kernel.c, called from Python.

Legend: M, N rows or columns, K inner size of a product, G gates, C and H inputs.
"""

import ctypes
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from variants.ops import kernel_build
from variants.ops.kernel_signatures import FUNCTIONS, Argument, Packed

_logger = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """The functions of kernel.c; None if it cannot be built, with one warning."""
    try:
        loaded = kernel_build.load()
    except kernel_build.BuildError as error:
        _logger.warning(
            "torch computes recurrences, convolutions, batch normalisation and CTC loss, slower "
            "than the compiled kernel and at costs that are not comparable between cells: %s",
            error,
        )
        return None
    # Without types ctypes would pass integers and addresses as C's int, of 32 bits.
    size = ctypes.c_int64
    for name, function in FUNCTIONS.items():
        exported = getattr(loaded, name)
        exported.argtypes, exported.restype = (size, size, ctypes.POINTER(function.struct)), None
    loaded.packed_size.argtypes, loaded.packed_size.restype = (size, size), size
    loaded.pack.argtypes = (ctypes.c_void_p, size, size, size, size, ctypes.c_void_p)
    loaded.pack.restype = None
    return loaded


def description() -> str:
    """What computes recurrences on this CPU; costs are comparable only if it is the same."""
    return "torch" if library() is None else f"compiled for {kernel_build.target()}"


def computes(x: Tensor) -> bool:
    """True if the compiled kernel supports `x`: CPU, float32, no autocast, built, not `unused`."""
    is_supported = x.device.type == "cpu" and x.dtype == torch.float32
    is_enabled = _in_use.get() and not torch.is_autocast_enabled("cpu")
    return is_supported and is_enabled and library() is not None  # builds it only if needed


@contextmanager
def unused() -> Iterator[None]:
    """Within the block torch computes everything; for baselines and tests."""
    token = _in_use.set(False)
    try:
        yield
    finally:
        _in_use.reset(token)


_in_use = ContextVar("kernel in use", default=True)


def call(name: str, **arguments: Argument) -> None:
    """Call the function `name` of kernel.c, its rows split among as many threads as torch uses.

    Of the integers in its struct only those are given that no array has as a size.

    Raises:
        ValueError: `arguments` differ from those of `kernel_signatures.FUNCTIONS`.
    """
    function = FUNCTIONS[name]
    try:
        struct = function.fill(arguments)
    except ValueError as error:
        raise ValueError(f"{name} of kernel.c: {error}") from error
    compute = getattr(_loaded(), name)
    num_rows = getattr(struct, function.integers[0])
    num_threads = max(1, min(torch.get_num_threads(), num_rows))
    if num_threads == 1:
        compute(0, num_rows, struct)
        return
    # Parts of nearly equal size, for instance of 10 rows for 4 threads: ends 0, 2, 5, 7, 10.
    ends = [num_rows * part // num_threads for part in range(num_threads + 1)]
    # ctypes releases the GIL. The loop waits for all threads, and raises what one of them raises.
    for _ in _pool(num_threads).map(lambda rows: compute(*rows, struct), pairwise(ends)):
        pass


def pack(matrix_KN: Tensor) -> Packed:
    """`matrix_KN` in the memory layout of a product's right factor (see kernel.c); any strides.

    Raises:
        ValueError: not a float32 matrix on the CPU.
    """
    if matrix_KN.dim() != 2 or matrix_KN.dtype != torch.float32 or matrix_KN.device.type != "cpu":
        raise ValueError(
            f"a packed matrix must be float32 on the CPU, got {matrix_KN.dtype} "
            f"{list(matrix_KN.shape)} on {matrix_KN.device}"
        )
    num_inner, num_columns = matrix_KN.shape
    values = matrix_KN.new_empty(_loaded().packed_size(num_inner, num_columns))
    _loaded().pack(
        matrix_KN.data_ptr(), num_inner, num_columns, *matrix_KN.stride(), values.data_ptr()
    )
    return Packed(values, num_inner, num_columns)


def product(left_MK: Tensor, right_KN: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """``left @ right + bias``; twice as fast as MKL on AMD CPUs, where MKL uses AVX2 only."""
    out_MN = left_MK.new_empty(len(left_MK), right_KN.shape[1])
    call("product", left=left_MK.contiguous(), right=pack(right_KN), bias=bias_N, out=out_MN)
    return out_MN


def weight_grads(
    grads_NG: Tensor, left_NC: Tensor, right_NH: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``grads.sum(0)``, ``grads.T @ left`` and ``grads.T @ right`` without transposed copies;
    the last is empty if `right` is None."""
    num_gates, num_left = grads_NG.shape[1], left_NC.shape[1]
    num_right = 0 if right_NH is None else right_NH.shape[1]
    sums_G = grads_NG.new_zeros(num_gates)
    left_grad_GC = grads_NG.new_zeros(num_gates, num_left)
    right_grad_GH = grads_NG.new_zeros(num_gates, num_right)
    call(
        "add_weight_grads",
        grads=grads_NG,
        left=pack(left_NC),
        right=None if right_NH is None else pack(right_NH),
        bias_grad=sums_G,
        left_grad=left_grad_GC,
        right_grad=right_grad_GH,
    )
    return sums_G, left_grad_GC, right_grad_GH


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("kernel.c is not built; check `computes` before a call")
    return loaded


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads that sleep while idle, unlike OpenMP's: other processes can use their cores."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="kernel")
