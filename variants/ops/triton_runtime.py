"""Whether Triton's kernels can be used, and what they are called in records.

Off unless BENCH_TRITON=1: tested in Triton's interpreter and compiled for sm_80 and sm_90, the
kernels have never run on a GPU. `pytest -m cuda` compares them with float64 there; then the
variable may go. Triton comes with torch's CUDA wheels. It is imported when a kernel is first
needed, never on a machine without a GPU unless asked for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata, util

import torch
from torch import Tensor

VARIABLE = "BENCH_TRITON"


@cache
def version() -> str | None:
    """Of Triton; None if it is not installed."""
    return metadata.version("triton") if util.find_spec("triton") else None


def description() -> str:
    """What computes, in the record of a run."""
    return f"Triton {version()}"


def computes(x: Tensor) -> bool:
    """True if Triton's kernels are used for `x`: on an NVIDIA GPU, asked for, not `unused`."""
    is_asked = os.environ.get(VARIABLE) == "1" and _in_use.get()
    is_nvidia = x.device.type == "cuda" and torch.version.hip is None
    return is_nvidia and is_asked and version() is not None


@contextmanager
def unused() -> Iterator[None]:
    """Within the block torch computes everything; for baselines and tests."""
    token = _in_use.set(False)
    try:
        yield
    finally:
        _in_use.reset(token)


_in_use = ContextVar("triton in use", default=True)


def power_of_2(number: int) -> int:
    """The smallest power of 2 that is at least `number`."""
    return 1 << (max(1, number) - 1).bit_length()
