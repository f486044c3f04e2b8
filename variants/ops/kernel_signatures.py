"""The arguments of each function of kernel.c, and their validation.

C does not check bounds, so every argument is checked for type, shape and memory layout first.

Legend: as in kernel.c. Shapes are written with its letters: "B T 3H" is [B, T, 3 H].
"""

import ctypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """The right factor [K, N] of a product, in the memory layout of `variants.ops.kernel.pack`."""

    values: Tensor
    num_inner: int
    num_columns: int


Argument = Tensor | Packed | int | None
Numbers = Mapping[str, int]


@dataclass(frozen=True)
class Array:
    """A pointer argument: a contiguous tensor on the CPU with as many elements as `shape` has."""

    shape: str
    dtype: torch.dtype = torch.float32
    optional: bool = False
    """None is allowed, a null pointer in C."""
    packed: bool = False
    """The right factor of a product; `shape` is that of the matrix before packing."""
    below: str = ""
    """If given, elements are indices: at least 0, and below this size."""

    def address(self, value: Argument, numbers: Numbers) -> int | None:
        """The address of `value`'s first element.

        Raises:
            ValueError: wrong type, device, memory layout, number of elements or range.
        """
        if value is None and self.optional:
            return None
        sizes = [_size(token, numbers) for token in self.shape.split()]
        if self.packed:
            if not isinstance(value, Packed) or [value.num_inner, value.num_columns] != sizes:
                raise ValueError(f"a packed matrix {sizes}, got {_described(value)}")
            return value.values.data_ptr()
        if (
            not isinstance(value, Tensor)
            or value.dtype != self.dtype
            or value.device.type != "cpu"
            or not value.is_contiguous()
            or value.numel() != prod(sizes)
        ):
            what = f"{sizes} of {self.dtype}, contiguous and on the CPU"
            raise ValueError(f"{what}, got {_described(value)}")
        if self.below and value.numel():
            # Read as memory, not by an operation of torch: a step asks tensors for no value.
            memory = value.numpy()
            low, high = int(memory.min()), int(memory.max())
            if low < 0 or high >= _size(self.below, numbers):
                most = _size(self.below, numbers) - 1
                raise ValueError(f"from 0 to {most}, got {low} to {high}")
        return value.data_ptr()


class Function:
    """A function of kernel.c: the fields of its struct of arguments, in order.

    The integers come first; the first of them is the number of rows that are split among threads.
    `rule` tests the integers for consistency; none may be negative.
    """

    def __init__(
        self,
        integers: str,
        rule: Callable[[Numbers], bool] = lambda _: True,
        /,
        **arrays: str | Array,
    ) -> None:
        self.integers = tuple(integers.split())
        self.arrays = {
            name: Array(array) if isinstance(array, str) else array
            for name, array in arrays.items()
        }
        self._rule = rule
        fields = [(name, ctypes.c_int64) for name in self.integers]
        pointers = [(name, ctypes.c_void_p) for name in self.arrays]
        self.struct: type[ctypes.Structure] = type(
            "Arguments", (ctypes.Structure,), {"_fields_": [*fields, *pointers]}
        )

    def fill(self, arguments: Mapping[str, Argument]) -> ctypes.Structure:
        """The struct for a call. It does not keep the tensors alive: the caller must.

        Raises:
            ValueError: an argument is missing, unknown, or has the wrong type, shape or device.
        """
        if arguments.keys() != {*self.integers, *self.arrays}:
            wanted = " ".join((*self.integers, *self.arrays))
            raise ValueError(f"arguments must be {wanted}, got {' '.join(arguments)}")
        numbers: dict[str, int] = {}
        for name in self.integers:
            value = arguments[name]
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be an integer of 0 or more, got {value!r}")
            numbers[name] = value
        if not self._rule(numbers):
            raise ValueError(f"integers are inconsistent: {numbers}")
        filled: dict[str, int | None] = {**numbers}
        for name, array in self.arrays.items():
            try:
                filled[name] = array.address(arguments[name], numbers)
            except ValueError as error:
                raise ValueError(f"{name} must be {error}") from error
        return self.struct(**filled)


def _described(value: Argument) -> str:
    if isinstance(value, Packed):
        return f"a packed matrix [{value.num_inner}, {value.num_columns}]"
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {value.dtype}, strides {value.stride()}, on {value.device}"
    return repr(value)


def _size(token: str, numbers: Numbers) -> int:
    """The value of a token such as "T", "3H", "U+1", "2L+2", "B*U" or "5"."""
    parts = _parsed(token)
    return prod(factor * (numbers[name] if name else 1) + more for factor, name, more in parts)


@cache
def _parsed(token: str) -> tuple[tuple[int, str, int], ...]:
    found = [re.fullmatch(r"(\d*)([A-Za-z]*)(?:\+(\d+))?", part) for part in token.split("*")]
    return tuple((int(m[1] or 1), m[2], int(m[3] or 0)) for m in found if m)


def _windows_lie_within(numbers: Numbers) -> bool:
    """True if the last window of a convolution ends within its utterance."""
    n = numbers
    return not n["U"] or (n["U"] - 1) * n["step"] + n["size"] <= n["length"]


_NUM_DRAWS = 2**16


def _packed(shape: str, *, optional: bool = False) -> Array:
    return Array(shape, packed=True, optional=optional)


def _lengths(below: str) -> Array:
    return Array("B", torch.int64, below=below)


FUNCTIONS = {
    "product": Function(
        "M K N", left="M K", right=_packed("K N"), bias=Array("N", optional=True), out="M N"
    ),
    "add_weight_grads": Function(
        "G N C H",
        grads="N G",
        left=_packed("N C"),
        right=_packed("N H", optional=True),
        bias_grad="G",
        left_grad="G C",
        right_grad="G H",
    ),
    "convolve": Function(
        "B U D length step size",
        _windows_lie_within,
        inputs="B length",
        weight=_packed("size D"),
        bias=Array("D", optional=True),
        out="B U D",
    ),
    "add_convolution_grad": Function(
        "size B U D length step",
        _windows_lie_within,
        inputs="B length",
        grads=_packed("B*U D"),
        weight_grad="size D",
    ),
    "moments": Function("C B R", lens=_lengths("R+1"), x="B R C", mean="C", squares="C"),
    "normalize": Function("N C", x="N C", mean="C", gain="C", bias="C", y="N C"),
    "normalize_sums": Function("C N", grads="N C", x="N C", mean="C", sums="C", products="C"),
    "normalize_backward": Function(
        "B R C",
        lens=_lengths("R+1"),
        grads="B R C",
        x="B R C",
        mean="C",
        shared="C",
        slope="C",
        gain="C",
        x_grads="B R C",
    ),
    "drop": Function(
        "N num_kept",
        lambda numbers: 1 <= numbers["num_kept"] <= _NUM_DRAWS,
        draws=Array("N", torch.int16),
        x="N",
        y="N",
    ),
    "rnn_forward": Function(
        "B T H relu",
        weight_hh=_packed("H H"),
        inputs="B T H",
        scratch="B H",
        states="B T H",
    ),
    "rnn_backward": Function(
        "B T H relu",
        weight_hh=_packed("H H"),
        out_grads="B T H",
        states="B T H",
        scratch="B H",
        grads="B T H",
    ),
    "gru_forward": Function(
        "B T H",
        weight_hh=_packed("H 3H"),
        initial="B H",
        bias="H",
        scratch="B 3H",
        gates="B T 3H",
        new_gate="B T H",
        states="B T H",
    ),
    "gru_backward": Function(
        "B T H",
        weight_hh=_packed("3H H"),
        initial="B H",
        out_grads="B T H",
        states="B T H",
        new_gate="B T H",
        gates="B T 3H",
        scratch="B H",
        carry="B H",
        grads="B T 3H",
        new_gate_grads="B T H",
    ),
    "light_gru_forward": Function(
        "B T H",
        weight_hh=_packed("H 2H"),
        initial="B H",
        scratch="B 2H",
        gates="B T 2H",
        states="B T H",
    ),
    "light_gru_backward": Function(
        "B T H",
        weight_hh=_packed("2H H"),
        initial="B H",
        out_grads="B T H",
        states="B T H",
        gates="B T 2H",
        scratch="B H",
        carry="B H",
        grads="B T 2H",
    ),
    "lstm_forward": Function(
        "B T H",
        weight_hh=_packed("H 4H"),
        initial="B H",
        scratch="B 4H",
        gates="B T 4H",
        cells="B T H",
        states="B T H",
    ),
    "lstm_backward": Function(
        "B T H",
        weight_hh=_packed("4H H"),
        initial="B H",
        out_grads="B T H",
        cells="B T H",
        gates="B T 4H",
        scratch="B H",
        carry="B H",
        grads="B T 4H",
    ),
    "ctc": Function(
        "B U V L blank",
        lambda numbers: numbers["blank"] < numbers["V"],
        log_probs="B U V",
        lens=_lengths("U+1"),
        targets=Array("B L", torch.int64, below="V"),
        target_lens=_lengths("L+1"),
        alpha="B U+1 2L+2",
        scratch="B 5 2L+2",
        losses="B",
        grads=Array("B U V", optional=True),
    ),
}
"""All exported functions except `pack` and `packed_size`; tests compare them with kernel.c."""
