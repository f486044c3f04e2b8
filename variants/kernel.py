"""What is compiled of networks and their loss: how kernel.c is built, loaded and called.

It is built with the C compiler at hand when it is first needed, in about a second, for the vector
instructions that torch found on this CPU, and kept where Python keeps its bytecode.
"""

import ctypes
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernel.c")
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
"""No -ffast-math: what is not finite must stay so, or nobody would see a run diverge."""
ARCHITECTURES = {"AVX512": ("-march=x86-64-v4",), "AVX2": ("-march=x86-64-v3",)}
"""By torch's name of what the CPU has; others get the compiler's own choice."""
COMPILERS = ("cc", "gcc", "clang")
BUILD_SECONDS = 120.0

_logger = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """The functions of kernel.c; None where it cannot be built, which is said once."""
    capability = torch.backends.cpu.get_cpu_capability()
    flags = (*FLAGS, *ARCHITECTURES.get(capability, ()))
    compiler = _compiler()
    if compiler is None:
        _logger.warning(_TORCHS_OWN, "there is no C compiler; install gcc, or set CC")
        return None
    try:
        recipe = (*compiler, *flags, SOURCE.read_text(encoding="utf-8"))
        name = f"kernel-{sha256(repr(recipe).encode()).hexdigest()[:16]}.so"
        built = _build([*compiler, *flags, str(SOURCE)], name)
        loaded = ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        _logger.warning(_TORCHS_OWN, f"{SOURCE.name} could not be built: {said}")
        return None
    loaded.packed_size.restype = ctypes.c_int64
    return loaded


_TORCHS_OWN = (
    "recurrences, convolutions, batch normalisation and CTC loss run as torch has them, slower and "
    "not alike for all cells: %s"
)


def description() -> str:
    """What computes recurrences on this machine's CPU: runs are alike in cost only where it is."""
    if library() is None:
        return "torch"
    return f"compiled for {torch.backends.cpu.get_cpu_capability()}"


def _compiler() -> list[str] | None:
    """The user's choice, else what is on the path."""
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"]) or None
    return next(([found] for name in COMPILERS if (found := shutil.which(name))), None)


def _build(command: list[str], name: str) -> Path:
    """`name` beside the bytecode of this package, or in a folder of this process where that cannot
    be written; of several processes that build at once the last one's file stays."""
    kept = Path(importlib.util.cache_from_source(str(SOURCE))).with_name(name)
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory(prefix="deepspeech-bench-") as folder:
        made = Path(folder, name)
        subprocess.run(
            [*command, "-o", str(made)],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            beside = kept.with_suffix(f".{os.getpid()}.tmp")
            shutil.copyfile(made, beside)
            beside.replace(kept)
        except OSError:
            kept = Path(tempfile.mkdtemp(prefix="deepspeech-bench-"), name)
            shutil.copyfile(made, kept)
    return kept


def computes(x: Tensor) -> bool:
    """Whether kernel.c does what is asked of `x`: on a CPU, in float32, if it could be built."""
    here = x.device.type == "cpu" and x.dtype == torch.float32
    free = _in_use.get() and not torch.is_autocast_enabled("cpu")
    return here and free and library() is not None


@contextmanager
def unused() -> Iterator[None]:
    """Within, torch computes all itself: what ours is measured against."""
    token = _in_use.set(False)
    try:
        yield
    finally:
        _in_use.reset(token)


_in_use = ContextVar("kernel in use", default=True)


def call(name: str, num_rows: int, *args: Tensor | int | None) -> None:
    """The function `name` of kernel.c, its rows shared out among as many threads as torch has.

    Tensors must be contiguous float32 or int64 on the CPU; None is a null pointer.
    """
    function = getattr(library(), name)
    native = [_native(arg) for arg in args]
    num_threads = max(1, min(torch.get_num_threads(), num_rows))
    ends = [num_rows * part // num_threads for part in range(num_threads + 1)]
    calls = [(_native(first), _native(last), *native) for first, last in pairwise(ends)]
    if num_threads == 1:
        function(*calls[0])
        return
    for _ in _pool(num_threads).map(function, *zip(*calls, strict=True)):
        pass


def pack(matrix_KN: Tensor) -> Tensor:
    """The right factor of products, laid out for them."""
    num_inner, num_columns = matrix_KN.shape
    sizes = [ctypes.c_int64(size) for size in (num_inner, num_columns, *matrix_KN.stride())]
    kernel = library()
    assert kernel is not None
    packed = matrix_KN.new_empty(kernel.packed_size(*sizes[:2]))
    kernel.pack(ctypes.c_void_p(matrix_KN.data_ptr()), *sizes, _native(packed))
    return packed


def product(left_MK: Tensor, right_KN: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """``left @ right + bias``; on AMD's cores at twice the speed of MKL, which gives them AVX2."""
    (num_rows, num_inner), num_columns = left_MK.shape, right_KN.shape[1]
    out_MN = left_MK.new_empty(num_rows, num_columns)
    left, right = left_MK.contiguous(), pack(right_KN)
    call("product", num_rows, num_inner, num_columns, left, right, bias_N, out_MN)
    return out_MN


def weight_grads(
    grads_NG: Tensor, left_NC: Tensor, right_NH: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``grads.sum(0)``, ``grads.T @ left`` and ``grads.T @ right``, without a transposed copy."""
    (num_inner, num_rows), num_left = grads_NG.shape, left_NC.shape[1]
    num_right = 0 if right_NH is None else right_NH.shape[1]
    outs = [grads_NG.new_zeros(num_rows, num) for num in (1, num_left, num_right)]
    packed = (pack(left_NC), None if right_NH is None else pack(right_NH))
    sizes = (num_inner, num_rows, num_left, num_right)
    call("add_weight_grads", num_rows, *sizes, grads_NG, *packed, *outs)
    return outs[0].flatten(), outs[1], outs[2]


def _native(arg: Tensor | int | None) -> ctypes.c_int64 | ctypes.c_void_p:
    if isinstance(arg, int):
        return ctypes.c_int64(arg)
    if arg is None:
        return ctypes.c_void_p(None)
    assert arg.is_contiguous()
    assert arg.device.type == "cpu"
    assert arg.dtype in (torch.float32, torch.int64)
    return ctypes.c_void_p(arg.data_ptr())


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads that wait without spinning: another process may have their core meanwhile."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="kernel")
