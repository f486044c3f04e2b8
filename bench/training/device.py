"""Where a run computes, in which precision, and how much memory it took."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from bench.core.errors import UserError

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
"""Parameters of glibc's mallopt, as its malloc.h numbers them."""


def resolve_device(name: Literal["auto", "cpu", "cuda"] | str) -> torch.device:
    """The device that ``--device`` names; auto is the GPU where torch sees one.

    Raises:
        UserError: CUDA was asked for and torch sees none.
    """
    visible = torch.cuda.is_available()
    if name == "cuda" and not visible:
        raise UserError(
            "--device cuda needs a CUDA device, none is visible to torch; use --device cpu or auto"
        )
    return torch.device(("cuda" if visible else "cpu") if name == "auto" else name)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within, float32 means float32: TF32 keeps 10 bits of the fraction, and torch allows cuDNN to
    use it."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (products.allow_tf32, convolutions.allow_tf32)
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def default_precision(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA; float32 on a CPU, most of which emulate bfloat16 (18 times slower)."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which a network runs in `precision`; its weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within, torch uses only algorithms that give the same bits each time, if that is `wanted`.

    cuBLAS reads its setting when a process first uses it, so a process that means to be
    deterministic enters this before it computes anything on CUDA.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where malloc is glibc's (see mallopt(3)).

    Otherwise blocks above 32 MiB go back to the system at once, and activations lie in new pages at
    each step: 1 to 8 % of its time for an LSTM of 256 units, 8 to 13 % for 512.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def peak_memory_bytes(device: torch.device) -> int:
    """The most that this process has held: allocated on the GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
