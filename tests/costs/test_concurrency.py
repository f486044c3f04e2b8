"""Workers in processes of their own."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.costs.contest import Meter
from bench.costs.workers import Job, _peak_memory_bytes, _Window, train_at_once
from bench.data.utterance import Corpus
from bench.training.progress import Progress
from tests.costs.conftest import CPU, Configure


def test_two_workers_train_at_once(tiny: Configure, tone_corpus: Corpus) -> None:
    job = Job(
        config=tiny(), corpus=tone_corpus, minutes=60, seconds=0.2, num_threads=1, device="cpu"
    )
    found = train_at_once(job, 2)
    assert found.audio_seconds_per_second > 0
    assert 50e6 < found.peak_memory_bytes < 5e9


def test_the_window_opens_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 13.0])
    monkeypatch.setattr("bench.costs.workers.time.perf_counter", lambda: next(times))
    window = _Window(Meter(iter([5.0, 6.0, 7.0])), seconds=2.0)
    ended = [
        window(
            Progress(
                step=step,
                epoch=0.0,
                num_epochs=1,
                seconds=0.0,
                metrics={"train/audio_seconds_per_second": 2.0},
                evaluated=False,
            )
        )
        for step in (1, 2, 3)
    ]
    assert ended == [False, False, True]
    assert (window.turn.audio_seconds, window.turn.seconds) == (13.0, 6.5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_the_most_that_was_held(tmp_path: Path) -> None:
    before = _peak_memory_bytes(CPU)
    held = np.ones(before // 8 + 4_000_000)
    del held
    assert _peak_memory_bytes(CPU) > before
