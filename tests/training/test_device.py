import multiprocessing
import os
import platform
import resource
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.data.units import LETTERS
from bench.training.checkpoint import TrainedNetwork
from bench.training.config import default_run_config
from bench.training.device import (
    autocast,
    default_precision,
    deterministic,
    exact_float32,
    keep_freed_memory,
    peak_memory_bytes,
    resolve_device,
)
from bench.training.evaluate import transcribe

CPU = torch.device("cpu")


@pytest.fixture
def allowing_tf32() -> Iterator[None]:
    """As a program may have it that uses this as a library."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (products.allow_tf32, convolutions.allow_tf32)
    products.allow_tf32 = convolutions.allow_tf32 = True
    yield
    products.allow_tf32, convolutions.allow_tf32 = before


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"


def test_cuda_without_a_gpu_is_an_error_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        resolve_device("cuda")
    assert str(caught.value) == (
        "--device cuda needs a CUDA device, none is visible to torch; use --device cpu or auto"
    )


def test_to_resolve_a_device_changes_nothing(allowing_tf32: None) -> None:
    resolve_device("cpu")
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32


def test_float32_is_not_tf32_where_we_compute(allowing_tf32: None) -> None:
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32


class _Asked(torch.nn.Module):
    """A network that notes whether it is computed in TF32."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: set[bool] = set()

    def forward(self, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        backends = torch.backends
        self.allowed |= {backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32}
        return feats_BTF.new_zeros(1, 4, 29).log_softmax(-1), torch.tensor([4])


def test_a_text_is_computed_in_float32(allowing_tf32: None) -> None:
    network = _Asked()
    config = default_run_config("ds-gru", CorpusConfig())
    trained = TrainedNetwork(network, config, None, LETTERS)  # type: ignore[arg-type]
    transcribe(trained, torch.zeros(1_600), CPU)
    assert network.allowed == {False}


def test_bfloat16_on_cuda_only() -> None:
    assert default_precision(torch.device("cuda")) == torch.bfloat16
    assert default_precision(CPU) == torch.float32


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_the_precision(precision: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


def test_peak_memory_holds_what_was_once_held() -> None:
    before = peak_memory_bytes(CPU)
    block = torch.ones(64 * 2**20)
    del block
    # Torch alone takes more than 50 MB: the unit is bytes.
    assert 50e6 < before <= peak_memory_bytes(CPU) < 100e9
    assert peak_memory_bytes(CPU) >= 256 * 2**20


def test_deterministic_lasts_as_long_as_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    """In a process of its own, which keeps what it is told."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(_new_pages, (False,)) > 1000
        assert pool.apply(_new_pages, (True,)) < 100


def _new_pages(kept: bool) -> int:
    """The fewest page faults while 64 MiB are written, of ten times in a row."""
    if kept:
        keep_freed_memory()
    faults = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(faults)
