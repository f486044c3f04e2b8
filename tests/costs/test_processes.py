"""Processes that work for this one."""

import os
import signal
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from bench.costs.processes import processes


def nothing() -> None:
    pass


def sleep(seconds: float) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(seconds)
    return os.getpid()


def interrupted(left: list[Future[int]]) -> None:
    with processes(1, nothing) as submit:
        submit(sleep, 0).result()
        left.append(submit(sleep, 600))
        raise KeyboardInterrupt


def test_they_do_not_hear_ctrl_c_and_end_when_the_block_does() -> None:
    with processes(1, nothing) as submit:
        assert submit(sleep, 0).result() != os.getpid()
    left: list[Future[int]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(left)
    assert isinstance(left[0].exception(), BrokenProcessPool)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
