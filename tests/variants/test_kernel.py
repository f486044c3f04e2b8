"""How the kernel is built, and its product."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.costs.arithmetic import threads
from variants import kernel
from variants.recurrence import recur


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kernel that nobody has built yet; yields where it would be kept."""
    source = tmp_path / "kernel.c"
    source.write_text(kernel.SOURCE.read_text())
    monkeypatch.setattr(kernel, "SOURCE", source)
    kernel.library.cache_clear()
    yield tmp_path / "__pycache__"
    kernel.library.cache_clear()


SHAPES = [(1, 1, 1), (7, 5, 31), (30, 64, 33), (0, 4, 5), (13, 0, 5), (250, 9, 40), (25, 700, 64)]
"""The last two hold more than one block of rows, or of the inner size."""


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


def test_it_is_built_once(unbuilt: Path) -> None:
    assert kernel.library() is not None
    (built,) = unbuilt.iterdir()
    first = built.stat().st_mtime_ns
    kernel.library.cache_clear()
    assert kernel.library() is not None
    assert [path.stat().st_mtime_ns for path in unbuilt.iterdir()] == [first]


def test_a_folder_that_cannot_be_written(unbuilt: Path) -> None:
    unbuilt.write_text("not a folder")
    assert kernel.library() is not None


@pytest.mark.parametrize("compiler", ["false", "/no/such/compiler"])
def test_a_compiler_that_fails(
    unbuilt: Path, compiler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", compiler)
    check_torchs_own(caplog, "kernel.c could not be built")


def test_no_compiler(
    unbuilt: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    check_torchs_own(caplog, "there is no C compiler; install gcc, or set CC")


def check_torchs_own(caplog: pytest.LogCaptureFixture, said: str) -> None:
    cell, x_BTC = nn.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(recur(cell, x_BTC), cell(x_BTC)[0])
        recur(cell, x_BTC)
    assert kernel.description() == "torch"
    (record,) = caplog.records
    assert said in record.getMessage()
