"""Timings of single operations, some with a clock that only the operations advance."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.cores import torch_threads
from bench.costs import timings
from bench.costs.timings import (
    matmul_peak,
    recurrent_flops_per_second,
    synchronizer,
    time_recognition,
)
from bench.training.config import build_model
from bench.training.loop import TrainingData
from tests.costs.conftest import CPU, Configure
from variants.deepspeech import DeepSpeech, DeepSpeechConfig
from variants.deepspeech2 import DeepSpeech2, DeepSpeech2Config


def test_rates_are_positive_and_leave_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.costs.timings.PEAK_SIZES", {"cpu": (64,)})
    assert matmul_peak(CPU) > 0
    model = DeepSpeech(DeepSpeechConfig(width=8, directions="sum"), 20, 29)
    rate = recurrent_flops_per_second(model, 3, 10, CPU)
    assert rate is not None
    assert rate > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_recurrent_layers_has_no_rate_of_them() -> None:
    model = DeepSpeech2(DeepSpeech2Config(channels=6, width=8, num_layers=2), 20, 29)
    assert recurrent_flops_per_second(model, 3, 10, CPU) is None


def test_the_number_of_threads_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


def test_only_cuda_is_synchronized(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[None] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(None))
    synchronizer(CPU)()
    assert not waits
    synchronizer(torch.device("cuda"))()
    assert len(waits) == 1


def test_latency_is_a_median_and_the_real_time_factor_is_of_all_audio(
    tiny: Configure, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, recognized = [0.0], []
    seconds = iter([100.0, 1.0, 2.0, 3.0, 10.0])  # the first is warm-up

    def transcribe(trained: Any, waveform_N: Tensor, device: Any) -> str:
        now[0] += next(seconds)
        recognized.append(waveform_N.numpy().tobytes())
        return ""

    monkeypatch.setattr(timings, "transcribe", transcribe)
    monkeypatch.setattr(timings, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    model = build_model(tiny())
    found = time_recognition(model, tiny(), data.valid, CPU)
    assert found.latency_seconds == 2.5
    assert found.real_time_factor == pytest.approx(16 / data.valid.seconds)
    assert len(set(recognized)) == len(recognized) - 1 == 4
    assert not model.training


def test_recordings_are_read(tiny: Configure, data: TrainingData) -> None:
    found = time_recognition(build_model(tiny()), tiny(), data.valid, CPU)
    assert found.latency_seconds > 0
    assert found.real_time_factor > 0
