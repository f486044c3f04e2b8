"""The structs of kernel.c, read off its source, and the validation of the arguments of a call.

C checks no bounds, so every argument is checked first for type, shape and memory layout. What to
check stands in kernel.c, in the comment beside each field of a struct:

    struct ctc {
        int64_t B, U, V, L, blank;  /* integers, of which the first counts the rows */
        const int64_t *lens;        /* [B], at most U: indices, 0 to U */
        const int64_t *targets;     /* [B, L], below V: indices, 0 to V - 1 */
        float *alpha;               /* [B, U + 1, 2 L + 2]; a product reads [B U, D] */
        float *grads;               /* [B, U, V], or NULL: may be None */
    };

"packed" is the right factor of a product, in the memory layout of `variants.ops.kernel.pack`; its
shape is that of the matrix before packing.
"""

import ctypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from variants.ops.kernel_build import SOURCE


class Packed(NamedTuple):
    """The right factor [K, N] of a product, in the memory layout of `variants.ops.kernel.pack`."""

    values: Tensor
    num_inner: int
    num_columns: int


Argument = Tensor | Packed | int | None
Numbers = Mapping[str, int]

_DTYPES = {"float": torch.float32, "int64_t": torch.int64, "int16_t": torch.int16}
_STRUCT = re.compile(
    r"^struct (\w+) \{\n\s+int64_t ([^;]+);.*?\n(.*?)^\};", re.MULTILINE | re.DOTALL
)
_FIELD = re.compile(
    r"(?:const )?(?P<type>\w+) \*(?P<name>\w+); +/\* \[(?P<shape>[^]]+)\](?P<rules>[^:;]*).*\*/"
)


@dataclass(frozen=True)
class Array:
    """A pointer argument: a contiguous tensor on the CPU with as many elements as `sizes` has."""

    dtype: torch.dtype
    sizes: tuple[str, ...]
    """As kernel.c writes them: "T", "3 H", "B U", "2 L + 2"."""
    is_packed: bool
    is_optional: bool
    end: str
    """Elements are indices: at least 0, and below this size. "" if they are not."""

    @classmethod
    def read(cls, field: re.Match[str]) -> "Array":
        """The array that a field of a struct points to."""
        rules = field["rules"]
        indices = re.search(r"(at most|below) (\w+)", rules)
        return cls(
            dtype=_DTYPES[field["type"]],
            sizes=tuple(field["shape"].split(", ")),
            is_packed="packed" in rules,
            is_optional="or NULL" in rules,
            end="" if indices is None else indices[2] + " + 1" * (indices[1] == "at most"),
        )

    def address(self, value: Argument, numbers: Numbers) -> int | None:
        """The address of `value`'s first element.

        Raises:
            ValueError: wrong type, device, memory layout, number of elements or range.
        """
        if value is None and self.is_optional:
            return None
        sizes = [_size(size, numbers) for size in self.sizes]
        if self.is_packed:
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
        if self.end and value.numel():
            # Read as memory, not by an operation of torch: a step asks tensors for no value.
            memory = value.numpy()
            low, high, most = int(memory.min()), int(memory.max()), _size(self.end, numbers) - 1
            if low < 0 or high > most:
                raise ValueError(f"from 0 to {most}, got {low} to {high}")
        return value.data_ptr()


class Function:
    """A function of kernel.c: the fields of its struct of arguments, in order."""

    def __init__(self, name: str, integers: tuple[str, ...], arrays: Mapping[str, Array]) -> None:
        self.integers, self.arrays = integers, arrays
        self._are_consistent: Callable[[Numbers], bool] = _RULES.get(name, lambda _: True)
        fields = [(name, ctypes.c_int64) for name in integers]
        pointers = [(name, ctypes.c_void_p) for name in arrays]
        self.struct: type[ctypes.Structure] = type(
            "Arguments", (ctypes.Structure,), {"_fields_": [*fields, *pointers]}
        )

    def fill(self, arguments: Mapping[str, Argument]) -> ctypes.Structure:
        """The struct for a call. It does not keep the tensors alive: the caller must.

        An integer that an array has as a size need not be given. All arrays must agree on it.

        Raises:
            ValueError: an argument is missing, unknown, or has the wrong type, shape or device.
        """
        sizes: dict[str, Argument] = {}
        for name, array in self.arrays.items():
            shape = _shape(arguments.get(name))
            if len(shape) == len(array.sizes):
                sizes |= zip(array.sizes, shape, strict=True)
        given = {name: sizes[name] for name in self.integers if name in sizes} | dict(arguments)
        if given.keys() != {*self.integers, *self.arrays}:
            wanted = " ".join((*self.integers, *self.arrays))
            raise ValueError(f"arguments must be {wanted}, got {' '.join(given)}")
        numbers: dict[str, int] = {}
        for name in self.integers:
            value = given[name]
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be an integer of 0 or more, got {value!r}")
            numbers[name] = value
        if not self._are_consistent(numbers):
            raise ValueError(f"integers are inconsistent: {numbers}")
        filled: dict[str, int | None] = {**numbers}
        for name, array in self.arrays.items():
            try:
                filled[name] = array.address(arguments[name], numbers)
            except ValueError as error:
                raise ValueError(f"{name} must be {error}") from error
        return self.struct(**filled)


def _shape(value: Argument) -> tuple[int, ...]:
    if isinstance(value, Packed):
        return value.num_inner, value.num_columns
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _described(value: Argument) -> str:
    if isinstance(value, Packed):
        return f"a packed matrix [{value.num_inner}, {value.num_columns}]"
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {value.dtype}, strides {value.stride()}, on {value.device}"
    return repr(value)


def _size(text: str, numbers: Numbers) -> int:
    """The value of a size such as "T", "3 H", "B U" or "2 L + 2"."""
    if text in numbers:  # the usual case, three times as fast
        return numbers[text]
    terms = [term.split() for term in text.split(" + ")]
    return sum(prod(numbers[x] if x in numbers else int(x) for x in factors) for factors in terms)


def _windows_lie_within(n: Numbers) -> bool:
    """True if the last window of a convolution ends within its utterance."""
    return not n["U"] or (n["U"] - 1) * n["step"] + n["size"] <= n["length"]


_RULES: Mapping[str, Callable[[Numbers], bool]] = {
    "convolve": _windows_lie_within,
    "add_convolution_grad": _windows_lie_within,
    "drop": lambda n: 1 <= n["num_kept"] <= 2**16,
    "ctc": lambda n: n["blank"] < n["V"],
}
"""What the integers of a call must obey besides being 0 or more."""


def read_functions(source: str) -> dict[str, Function]:
    """The functions of a C source by name, each with the struct of the same name.

    Raises:
        ValueError: a field of a struct lacks its shape.
    """
    functions = {}
    for name, integers, lines in _STRUCT.findall(source):
        arrays = {}
        for line in lines.splitlines():
            field = _FIELD.fullmatch(line.strip())
            if field is None:
                raise ValueError(f"a field of struct {name} has its shape beside it, got {line!r}")
            arrays[field["name"]] = Array.read(field)
        functions[name] = Function(name, tuple(integers.split(", ")), arrays)
    return functions


FUNCTIONS = read_functions(SOURCE.read_text(encoding="utf-8"))
"""All exported functions except `pack` and `packed_size`."""
