"""The compiled products, and the validation of arguments."""

import ctypes
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.cores import torch_threads
from variants.ops import kernel, kernel_build
from variants.ops.kernel_signatures import FUNCTIONS, Array, Packed, read_functions

SHAPES = [(1, 1, 1), (7, 5, 31), (30, 64, 33), (0, 4, 5), (13, 0, 5), (250, 9, 40), (25, 700, 64)]
"""The last two have more than one block of rows, or of the inner size."""


@pytest.mark.parametrize("shape", SHAPES)
def test_product(shape: tuple[int, int, int]) -> None:
    num_rows, num_inner, num_columns = shape
    left, right = torch.randn(num_inner, num_rows).t(), torch.randn(num_columns, num_inner).t()
    expected = (left.double() @ right.double()).float()
    torch.testing.assert_close(kernel.product(left, right), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_right", [None, 1, 35])
def test_weight_grads(shape: tuple[int, int, int], num_right: int | None) -> None:
    num_rows, num_inner, num_left = shape
    grads, left = torch.randn(num_inner, num_rows), torch.randn(num_left, num_inner).t()
    right = None if num_right is None else torch.randn(num_inner, num_right)
    found = kernel.weight_grads(grads, left, right)
    wide = grads.double().t()
    expected = [wide.sum(1), wide @ left.double()]
    expected.append(wide.new_empty(num_rows, 0) if right is None else wide @ right.double())
    for ours, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, exact.float(), rtol=1e-4, atol=1e-4)


def test_threads_change_no_bit() -> None:
    left, right = torch.randn(2, 300, 300)

    def numbers(num_threads: int) -> list[torch.Tensor]:
        with torch_threads(num_threads):
            return [kernel.product(left, right), *kernel.weight_grads(left, right, left)]

    assert all(map(torch.equal, numbers(1), numbers(3)))


def test_structs_are_those_of_the_compiler(tmp_path: Path) -> None:
    """Offsets and types of every field, and the functions' own types, as the compiler has them."""
    types = {torch.float32: "float", torch.int64: "int64_t", torch.int16: "int16_t"}
    claims = []
    for name, function in FUNCTIONS.items():
        fields = dict.fromkeys(function.integers, "int64_t")
        fields |= {key: f"{types[array.dtype]} *" for key, array in function.arrays.items()}
        for field, kind in fields.items():
            of = f"((struct {name} *)0)->{field}"
            typed = f"__typeof__({of}), {kind}", f"__typeof__({of}), const {kind}"
            claims.append(" || ".join(f"__builtin_types_compatible_p({pair})" for pair in typed))
            offset = getattr(function.struct, field).offset
            claims.append(f"offsetof(struct {name}, {field}) == {offset}")
        claims.append(f"sizeof(struct {name}) == {ctypes.sizeof(function.struct)}")
        kind = f"void(int64_t, int64_t, const struct {name} *)"
        claims.append(f"__builtin_types_compatible_p(__typeof__({name}), {kind})")
    program = tmp_path / "claims.c"
    asserted = "".join(
        f'_Static_assert({claim}, "{number}");\n' for number, claim in enumerate(claims)
    )
    program.write_text(f'#include "{kernel_build.SOURCE}"\n{asserted}')
    command = [*kernel_build._compiler(), "-fsyntax-only", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_exported_function_is_read() -> None:
    exported = re.findall(r"^void (\w+)\(", kernel_build.SOURCE.read_text(), re.M)
    assert set(exported) == {*FUNCTIONS, "pack"}


def test_every_array_of_integers_has_a_limit() -> None:
    """Kernel.c reads at such an offset; the draws of a dropout are no offsets."""
    arrays = [array for function in FUNCTIONS.values() for array in function.arrays.values()]
    assert all(array.end for array in arrays if array.dtype == torch.int64)


def test_a_field_is_read_with_its_rules() -> None:
    (function,) = read_functions(
        "struct f {\n    int64_t B, U; /* U: none */\n"
        "    const float *x; /* [B U, 2 U + 2], packed, or NULL: zeros */\n"
        "    const int64_t *lens;   /* [B], at most U */\n"
        "    float *y; /* [U], below B: packed is not read here */\n};\n"
    ).values()
    assert function.integers == ("B", "U")
    assert function.arrays == {
        "x": Array(torch.float32, ("B U", "2 U + 2"), is_packed=True, is_optional=True, end=""),
        "lens": Array(torch.int64, ("B",), is_packed=False, is_optional=False, end="U + 1"),
        "y": Array(torch.float32, ("U",), is_packed=False, is_optional=False, end="B"),
    }
    with pytest.raises(ValueError, match="a field of struct f has its shape beside it"):
        read_functions("struct f {\n    int64_t B;\n    float *x; /* the states */\n};\n")


def product_arguments(**changed: Any) -> dict[str, Any]:
    right = kernel.pack(torch.randn(3, 4))
    arguments = {"M": 2, "K": 3, "N": 4, "left": torch.randn(2, 3), "right": right, "bias": None}
    return {**arguments, "out": torch.empty(2, 4), **changed}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"left": torch.randn(2, 2)}, r"left must be \[2, 3\] of torch.float32.*got \[2, 2\]"),
        ({"left": torch.randn(2, 3).double()}, "left must be .* got .* torch.float64"),
        ({"left": torch.randn(3, 2).t()}, r"left must be .* contiguous .* strides \(1, 2\)"),
        ({"left": torch.randn(2, 3, device="meta")}, "left must be .* on the CPU, got .* on meta"),
        ({"left": None}, "left must be .* got None"),
        ({"bias": torch.zeros(5)}, r"bias must be \[4\]"),
        ({"out": torch.empty(2, 3)}, r"out must be \[2, 4\]"),
        ({"right": torch.randn(3, 4)}, r"right must be a packed matrix \[3, 4\], got \[3, 4\]"),
        ({"right": Packed(torch.randn(96), 4, 3)}, r"right must be a packed matrix \[3, 4\], got a packed matrix"),
        ({"M": -1}, "M must be an integer of 0 or more, got -1"),
        ({"M": 2.0}, "M must be an integer"),
        ({"more": 1}, "arguments must be M K N left right bias out, got .* more"),
    ],
)  # fmt: skip
def test_what_c_would_read_beyond_is_refused(changed: dict[str, Any], said: str) -> None:
    kernel.call("product", **product_arguments())
    with pytest.raises(ValueError, match=f"product of kernel.c: {said}"):
        kernel.call("product", **product_arguments(**changed))


def ctc_arguments(
    lens: list[int], targets: list[list[int]], target_lens: list[int]
) -> dict[str, Any]:
    def integers(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    return {
        "B": 1, "U": 5, "V": 4, "L": 2, "blank": 0, "log_probs": torch.zeros(1, 5, 4),
        "lens": integers(lens), "targets": integers(targets), "target_lens": integers(target_lens),
        "alpha": torch.empty(1, 6, 6), "scratch": torch.empty(1, 5, 6), "losses": torch.empty(1),
        "grads": torch.zeros(1, 5, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (([6], [[1, 3]], [2]), "lens must be from 0 to 5, got 6 to 6"),
        (([5], [[1, 4]], [2]), "targets must be from 0 to 3, got 1 to 4"),
        (([5], [[-1, 3]], [2]), "targets must be from 0 to 3, got -1 to 3"),
        (([5], [[1, 3]], [3]), "target_lens must be from 0 to 2, got 3 to 3"),
    ],
)
def test_an_offset_beyond_an_array_is_refused(values: Any, said: str) -> None:
    kernel.call("ctc", **ctc_arguments([5], [[1, 3]], [2]))
    with pytest.raises(ValueError, match=said):
        kernel.call("ctc", **ctc_arguments(*values))


def test_a_window_beyond_its_utterance_is_refused() -> None:
    windows = {"B": 1, "U": 3, "D": 2, "length": 10, "step": 3, "size": 5}
    arrays = {
        "inputs": torch.zeros(1, 10), "weight": kernel.pack(torch.zeros(5, 2)), "bias": None,
        "out": torch.empty(1, 3, 2),
    }  # fmt: skip
    with pytest.raises(ValueError, match="integers are inconsistent"):
        kernel.call("convolve", **windows, **arrays)
    kernel.call(
        "convolve", **{**windows, "size": 4}, **{**arrays, "weight": kernel.pack(torch.zeros(4, 2))}
    )


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.zeros(3, 4).double()])
def test_what_cannot_be_packed_is_refused(matrix: Tensor) -> None:
    with pytest.raises(ValueError, match="a packed matrix must be float32 on the CPU"):
        kernel.pack(matrix)
