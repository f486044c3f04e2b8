"""One worker a run; one that is gone is told from one that is slow."""

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import LeaseLostError, TemporaryError, UserError
from bench.core.files import exclusive_lock
from bench.queue import lease as module
from bench.queue.lease import FILE, Lease, LeaseWatch, this_host


class Clock:
    """A monotonic clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def elsewhere(folder: Path, **changes: object) -> None:
    """A lease that a worker on another host has written."""
    holder = {
        "host": "far away",
        "pid": os.getpid(),
        "name": "process 1 of ada on far",
        "token": "t",
        "grace_seconds": 60.0,
    }
    (folder / FILE).write_text(json.dumps(holder | changes))


def frozen(process: multiprocessing.context.SpawnProcess) -> None:
    """Stop it, and return once it has stopped."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


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


def test_a_frozen_process_of_this_host_keeps_its_run_and_is_named(
    tmp_path: Path, holder: multiprocessing.context.SpawnProcess
) -> None:
    """Whose process that is we cannot know: in another container its number may be a stranger's."""
    clock = Clock()
    watch = LeaseWatch(clock)
    frozen(holder)
    assert watch.is_held(tmp_path)
    watch.check_holder(tmp_path)
    clock.now += 600
    assert watch.is_held(tmp_path)
    assert watch.is_standing_still(tmp_path)
    with pytest.raises(TemporaryError, match=f"held by process {holder.pid} of .* on .*kill -CONT"):
        watch.check_holder(tmp_path)
    assert watch.take(tmp_path, grace_seconds=60.0) is None
    assert holder.is_alive()
    holder.kill()
    holder.join()
    lease = watch.take(tmp_path, grace_seconds=60.0)
    assert lease is not None
    lease.release()


def test_a_process_number_in_a_lease_is_nothing_that_we_kill(tmp_path: Path) -> None:
    """The lease of a dead process whose number has gone to another one, here ourselves."""
    elsewhere(tmp_path, host=this_host())
    watch = LeaseWatch()
    assert not watch.is_held(tmp_path)
    lease = watch.take(tmp_path, grace_seconds=60.0)
    assert lease is not None
    lease.release()


def test_one_of_two_that_take_a_run_at_once_has_it(tmp_path: Path) -> None:
    """What bench.train and bench.reap do: to look and then to take would let both in."""
    taken: list[Lease | None] = []
    begin = threading.Barrier(8)

    def take() -> None:
        begin.wait()
        with exclusive_lock(tmp_path / "claim"):
            taken.append(LeaseWatch().take(tmp_path / "run", grace_seconds=60.0))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [lease for lease in taken if lease is not None]
    assert (len(taken), len(held)) == (8, 1)
    held[0].release()


def _is_held(folder: Path) -> bool:
    return LeaseWatch().is_held(folder)


def test_another_users_lease_is_not_read_as_free(
    tmp_path: Path, as_another_user: Callable[..., Any]
) -> None:
    with Lease.take(tmp_path, grace_seconds=60.0):
        assert as_another_user(_is_held, tmp_path) is True
        (tmp_path / FILE).chmod(0o600)
        said = as_another_user(_is_held, tmp_path)
    assert said.startswith("UserError: ")
    assert "must be readable for all who work in a folder, got Permission denied" in said


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


def test_the_first_look_takes_no_holder_for_gone(tmp_path: Path) -> None:
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


def test_a_heartbeat_goes_on_after_errors_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system has them for moments; without a heartbeat others take the run."""
    errors = iter([OSError(errno.ESTALE, "stale file handle"), UserError("a ticket has expired")])
    read = module._read

    def flaky(path: Path) -> object:
        if (error := next(errors, None)) is not None:
            raise error
        return read(path)

    monkeypatch.setattr(module, "_read", flaky)
    with Lease.take(tmp_path, grace_seconds=0.05):
        before, deadline = (tmp_path / FILE).stat().st_mtime_ns, time.monotonic() + 10
        while (tmp_path / FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.005)


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
