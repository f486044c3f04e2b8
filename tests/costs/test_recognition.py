"""Waiting times of a recogniser, by a clock that each transcript moves."""

from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from bench.costs import recognition
from bench.costs.recognition import time_recognition
from bench.training.config import build_model
from bench.training.loop import TrainingData
from tests.costs.conftest import CPU, Configure


def test_latency_is_a_median_and_real_time_a_share_of_all_audio(
    tiny: Configure, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, heard = [0.0], []
    seconds = iter([100.0, 1.0, 2.0, 3.0, 10.0])  # the first warms up

    def transcribe(model: Any, config: Any, waveform_N: Tensor, *_: Any) -> str:
        now[0] += next(seconds)
        heard.append(waveform_N.numpy().tobytes())
        return ""

    monkeypatch.setattr(recognition, "transcribe", transcribe)
    monkeypatch.setattr(recognition, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    model = build_model(tiny())
    found = time_recognition(model, tiny(), data.valid, CPU)
    assert found.latency_seconds == 2.5
    assert found.real_time_factor == pytest.approx(16 / data.valid.seconds)
    assert len(set(heard)) == len(heard) - 1 == 4
    assert not model.training


def test_recordings_are_read(tiny: Configure, data: TrainingData) -> None:
    found = time_recognition(build_model(tiny()), tiny(), data.valid, CPU)
    assert found.latency_seconds > 0
    assert found.real_time_factor > 0
