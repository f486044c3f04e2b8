import itertools
import threading
import time

import pytest
import torch

from bench.training.clocks import Clocks

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("device", "computed"), [(CPU, 32.0), (GPU, 24.5)], ids=str)
def test_adds_up_by_phase_on_top_of_what_was_there(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, computed: float
) -> None:
    # On a GPU the clock is read twice as often.
    ticks = itertools.count(step=1.5 if device is CPU else 0.75)
    cpu_ticks = itertools.count(step=4)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(time, "thread_time", lambda: next(cpu_ticks))
    seconds = {"forward": 10.0, "computed": 20.0}
    clocks = Clocks(seconds, device)
    for _ in range(2):
        with clocks("forward"):
            pass
    with clocks("device"):
        pass
    with clocks("evaluation"):
        pass
    assert seconds == {"forward": 13.0, "device": 1.5, "evaluation": 1.5, "computed": computed}
    assert (clocks["forward"], clocks["checkpoint"]) == (13.0, 0.0)
    assert (clocks.train, clocks.total, clocks.computed) == (14.5, 16.0, computed)
    assert clocks.by_phase == {"forward": 13.0, "device": 1.5, "evaluation": 1.5}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_waiting_is_not_computing(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    try:
        clocks = Clocks({}, CPU)
        with clocks("data"):
            threading.Event().wait(0.2)
    finally:
        torch.set_num_threads(1)
    assert clocks["data"] >= 0.2 > 10 * clocks.computed
