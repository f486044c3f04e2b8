"""Child processes, and training in several of them."""

import os
import signal
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from bench.costs.concurrency import (
    TrainingJob,
    _peak_memory_bytes,
    _Window,
    child_processes,
    train_concurrently,
)
from bench.costs.interleaved import Meter
from bench.data.utterance import Corpus
from bench.training.progress import Progress
from tests.costs.conftest import CPU, Configure


def test_two_workers_train_concurrently(tiny: Configure, tone_corpus: Corpus) -> None:
    job = TrainingJob(
        config=tiny(), corpus=tone_corpus, minutes=60, seconds=0.2, num_threads=1, device="cpu"
    )
    found = train_concurrently(job, 2)
    assert found.audio_seconds_per_second > 0
    assert 50e6 < found.peak_memory_bytes < 5e9


def test_the_window_opens_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 13.0])
    monkeypatch.setattr("bench.costs.concurrency.time.perf_counter", lambda: next(times))
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
    assert (window.slice.audio_seconds, window.slice.seconds) == (13.0, 6.5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_the_most_that_was_held(tmp_path: Path) -> None:
    before = _peak_memory_bytes(CPU)
    held = np.ones(before // 8 + 4_000_000)
    del held
    assert _peak_memory_bytes(CPU) > before


def nothing() -> None:
    pass


def sleep(seconds: float) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(seconds)
    return os.getpid()


def interrupted(left: list[Future[int]]) -> None:
    with child_processes(1, nothing) as submit:
        submit(sleep, 0).result()
        left.append(submit(sleep, 600))
        raise KeyboardInterrupt


def test_child_processes_ignore_ctrl_c_and_end_with_the_block() -> None:
    with child_processes(1, nothing) as submit:
        assert submit(sleep, 0).result() != os.getpid()
    left: list[Future[int]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(left)
    assert isinstance(left[0].exception(), BrokenProcessPool)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
