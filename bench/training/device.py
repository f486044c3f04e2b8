"""A run's device, precision and peak memory."""

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
    """The device that ``--device`` names; "auto" is the GPU if torch finds one, else the CPU.

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
    """Disable TF32 within the block: it rounds float32 operands to 10 bits of mantissa, and torch
    enables it for cuDNN by default."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (products.allow_tf32, convolutions.allow_tf32)
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def default_precision(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA; float32 on a CPU, since most CPUs emulate bfloat16 (18 times slower)."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which a network runs in `precision`; its weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """If `wanted`, allow torch only deterministic algorithms within the block.

    cuBLAS reads its environment variable once, when a process first uses it, so the block must be
    entered before anything is computed on CUDA.
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
    """Make glibc's malloc reuse freed memory instead of returning it to the system (mallopt(3)).

    By default it returns blocks above 32 MiB at once, and the page faults of new activations cost 1
    to 8 % of a step's time for an LSTM of 256 units, 8 to 13 % for 512 units.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of this process: allocated on the GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
