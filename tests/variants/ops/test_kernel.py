"""The compiled products, and the validation of arguments."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.costs.timings import threads
from variants.ops import kernel, kernel_build
from variants.ops.kernel_signatures import FUNCTIONS, Packed

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
        with threads(num_threads):
            return [kernel.product(left, right), *kernel.weight_grads(left, right, left)]

    assert all(map(torch.equal, numbers(1), numbers(3)))


def test_signatures_are_the_structs_of_kernel_c() -> None:
    source = re.sub(r"/\*.*?\*/", "", kernel_build.SOURCE.read_text(), flags=re.DOTALL)
    structs = dict(re.findall(r"struct (\w+) \{(.*?)\};", source, flags=re.DOTALL))
    functions = re.findall(
        r"^void (\w+)\(int64_t first, int64_t last, const struct (\w+) \*", source, re.M
    )
    assert set(functions) == {(name, name) for name in FUNCTIONS}
    assert structs.keys() == FUNCTIONS.keys()
    types = {torch.float32: "float", torch.int64: "int64_t", torch.int16: "int16_t"}
    for name, function in FUNCTIONS.items():
        fields = []
        for declaration in filter(None, map(str.strip, structs[name].split(";"))):
            kind, names = re.fullmatch(r"(?:const )?(\w+) (.*)", declaration, re.DOTALL).groups()  # type: ignore[union-attr]
            fields += [
                (kind + "*" * field.count("*"), field.strip(" *\n")) for field in names.split(",")
            ]
        expected = [("int64_t", integer) for integer in function.integers]
        expected += [(types[array.dtype] + "*", key) for key, array in function.arrays.items()]
        assert fields == expected, name


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
