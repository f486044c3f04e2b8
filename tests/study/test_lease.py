"""One worker a run; one that is gone is told from one that is slow."""

import json
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.study.lease import FILE, Lease, LeaseLostError, LeaseWatch, this_host


class Clock:
    """A monotonic clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def elsewhere(folder: Path, **changes: object) -> None:
    """A lease that a worker on another host has written."""
    holder = {"host": "far away", "pid": os.getpid(), "token": "t", "grace_seconds": 60.0}
    (folder / FILE).write_text(json.dumps(holder | changes))


def test_a_lease_is_held_until_it_is_released(tmp_path: Path) -> None:
    watch = LeaseWatch()
    assert not watch.is_held(tmp_path)
    lease = Lease.take(tmp_path, grace_seconds=60.0)
    assert watch.is_held(tmp_path)
    lease.check()
    lease.release()
    assert not watch.is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _take_and_hang(folder: Path, ready: Connection) -> None:
    Lease.take(folder, grace_seconds=0.6)
    ready.send(True)
    signal.pause()


@pytest.fixture
def holder(tmp_path: Path) -> multiprocessing.context.SpawnProcess:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_take_and_hang, args=(tmp_path, there), daemon=True)
    process.start()
    assert here.recv()
    return process


def test_a_killed_process_of_this_host_is_gone_at_once(
    tmp_path: Path, holder: multiprocessing.context.SpawnProcess
) -> None:
    watch = LeaseWatch()
    assert watch.is_held(tmp_path)
    holder.kill()
    holder.join()
    assert (tmp_path / FILE).exists()
    assert not watch.is_held(tmp_path)


def test_a_frozen_process_of_this_host_is_gone_after_its_grace_and_then_killed(
    tmp_path: Path, holder: multiprocessing.context.SpawnProcess
) -> None:
    clock = Clock()
    watch = LeaseWatch(clock)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    assert watch.is_held(tmp_path)
    clock.now += 0.5
    assert watch.is_held(tmp_path)
    clock.now += 0.5
    while watch.is_held(tmp_path):  # a last touch may have come between
        clock.now += 0.7
    watch.break_(tmp_path)
    holder.join(10)
    assert holder.exitcode == -signal.SIGKILL
    assert not (tmp_path / FILE).exists()


def test_a_worker_elsewhere_is_gone_when_its_lease_stands_still(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    clock = Clock()
    watch = LeaseWatch(clock)
    assert watch.is_held(tmp_path)
    clock.now += 59
    assert watch.is_held(tmp_path)
    os.utime(tmp_path / FILE, ns=(1, 1))  # a sign of life; what its clock says is of no interest
    assert watch.is_held(tmp_path)
    clock.now += 59
    assert watch.is_held(tmp_path)
    clock.now += 2
    assert not watch.is_held(tmp_path)
    watch.break_(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_who_has_just_looked_takes_nobody_for_gone(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    os.utime(tmp_path / FILE, ns=(1, 1))
    assert LeaseWatch(Clock()).is_held(tmp_path)


def test_a_holder_keeps_its_lease_fresh(tmp_path: Path) -> None:
    clock = Clock()
    watch = LeaseWatch(clock)
    with Lease.take(tmp_path, grace_seconds=0.05):
        before = (tmp_path / FILE).stat().st_mtime_ns
        assert watch.is_held(tmp_path)
        while (tmp_path / FILE).stat().st_mtime_ns == before:
            pass
        clock.now += 60
        assert watch.is_held(tmp_path)


def test_a_lost_lease_is_noticed_and_left_to_its_new_holder(tmp_path: Path) -> None:
    lost = threading.Event()
    old = Lease.take(tmp_path, grace_seconds=0.05, on_loss=lost.set)
    new = Lease.take(tmp_path, grace_seconds=60.0)
    assert lost.wait(10)
    with pytest.raises(LeaseLostError, match="given to another worker"):
        old.check()
    old.release()
    new.check()
    new.release()


def test_an_unreadable_lease_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    assert not LeaseWatch().is_held(tmp_path)


def test_this_host_has_a_name_of_one_line() -> None:
    assert this_host().split()[0]
    assert "\n" not in this_host()
