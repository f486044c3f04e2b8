import itertools
import time

import pytest

from bench.training.clocks import Clocks


def test_adds_up_by_phase_on_top_of_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=1.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    seconds = {"forward": 10.0}
    clocks = Clocks(seconds)
    for _ in range(2):
        with clocks("forward"):
            pass
    with clocks("device"):
        pass
    with clocks("evaluation"):
        pass
    assert seconds == {"forward": 13.0, "device": 1.5, "evaluation": 1.5}
    assert (clocks["forward"], clocks["checkpoint"]) == (13.0, 0.0)
    assert (clocks.train, clocks.total) == (14.5, 16.0)
