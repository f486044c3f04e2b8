import itertools
import time

import pytest

from bench.training.clocks import Clocks


def test_adds_up_by_phase_on_top_of_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=1.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    seconds = {"train": 10.0}
    clocks = Clocks(seconds)
    for _ in range(2):
        with clocks("train"):
            pass
    with clocks("evaluation"):
        pass
    assert seconds == {"train": 13.0, "evaluation": 1.5}
    assert (clocks["train"], clocks["checkpoint"], clocks.total) == (13.0, 0.0, 14.5)
