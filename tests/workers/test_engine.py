"""Workers of this machine: cores shared out, GPUs by locks, words and exit codes heard."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from multiprocessing import process, util
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core import gpus
from bench.core.errors import UserError
from bench.runs import TrackingTarget
from bench.workers import engine as engines
from bench.workers.engine import LocalEngine, share_host
from bench.workers.worker import Assignment


def _work(assignment: Assignment, connection: Any) -> None:
    """In place of a worker: says which GPU it sees, then hangs or ends as its system's name says."""
    connection.send({"gpu": assignment.gpu})
    if assignment.system == "hangs":
        signal.pause()
    os._exit(7)


@pytest.fixture
def assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    monkeypatch.setattr(engines, "work", _work)
    return Assignment(
        folder=tmp_path,
        system="ends",
        kind="trial",
        slot=None,
        storage_url=None,
        num_workers=1,
        num_threads=1,
        grace_seconds=60.0,
        target=TrackingTarget(uri="sqlite:///x.db"),
    )


def heard(engine: LocalEngine, worker: Any) -> list[dict[str, Any]]:
    """What it says until it ends."""
    said: list[dict[str, Any]] = []
    while worker.exit_code is None:
        engine.wait([worker], 5.0)
        said += worker.messages()
    return said + worker.messages()


def test_a_worker_is_heard_and_its_end_is_seen(assignment: Assignment) -> None:
    engine = LocalEngine(1, 1)
    worker = engine.start(assignment)
    assert worker is not None
    assert heard(engine, worker) == [{"gpu": None}]
    assert worker.exit_code == 7
    worker.close()


def test_gpus_have_so_many_places_and_each_is_free_again(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.mps, "sharing", lambda gpus: nullcontext({}))
    engine = LocalEngine(4, 1, gpus=("3", "5"), per_gpu=2)
    hanging = Assignment(**{**vars(assignment), "system": "hangs"})
    workers = [engine.start(hanging) for _ in range(4)]
    assert engine.start(hanging) is None
    assert LocalEngine(1, 1, gpus=("3",)).start(hanging) is None, "another launcher"
    said = []
    for worker in workers:
        assert worker is not None
        while not (messages := worker.messages()):
            time.sleep(0.01)
        said += messages
    assert [message["gpu"] for message in said] == ["3", "5", "3", "5"]
    for worker in workers:
        assert worker is not None
        worker.stop()
        worker.close()
        assert worker.exit_code == -signal.SIGTERM
    again = engine.start(assignment)
    assert again is not None
    again.close()


@pytest.mark.parametrize("writable", [True, False])
def test_sockets_have_a_short_path_whatever_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setitem(process.current_process()._config, "tempdir", None)
    if not writable:
        monkeypatch.setattr(engines, "SOCKET_FOLDERS", ())
        with pytest.raises(UserError, match="TMPDIR must have at most 70 bytes"):
            engines._choose_socket_folder()
        return
    engines._choose_socket_folder()
    assert len(util.get_temp_dir()) < 100
    assert tempfile.gettempdir() == str(long), "for all else it stays"


def test_workers_import_nothing_heavy_of_their_own(tmp_path: Path) -> None:
    """Each would wait for it anew."""
    program = f"""
import importlib, sys, torch
for name in {engines.PRELOADED}:
    importlib.import_module(name)
before = set(sys.modules)
from bench.runs.mlflow.store import connect
connect("sqlite:///{tmp_path}/mlflow.db")
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).zero_grad()
print(*set(sys.modules) - before)
"""
    for _ in range(2):  # the first makes the database, as the launcher does
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    heavy = {"mlflow.store.tracking.sqlalchemy_store", "torch._dynamo"}
    assert not heavy & set(done.stdout.split())


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    shares = {
        n: (share_host(n, "cpu").num_workers, share_host(n, "cpu").num_threads)
        for n in (None, 1, 3, 16)
    }
    assert shares == {None: (8, 1), 1: (1, 8), 3: (3, 2), 16: (16, 1)}
    assert share_host(None, "cuda").num_workers == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(engines.mps, "sharing", lambda gpus: nullcontext({}))
    for named in (("0", "1"), ()):
        on_gpus = share_host(None, "cuda", gpus=named, per_gpu=2)
        assert (on_gpus.num_workers, on_gpus.num_threads) == (4, 2), "all GPUs are the default"
    divided = share_host(3, "cuda")
    assert (divided.num_workers, divided._places) == (3, [("0", 0), ("1", 0), ("0", 1), ("1", 1)])
    assert share_host(1, "cuda")._places == [("0", 0)]


@pytest.mark.parametrize(
    ("visible", "asked", "given"),
    [
        (None, ("0", "1"), ["0", "1"]),
        ("4, 2", ("0", "1"), ["4", "2"]),  # a scheduler's: 0 is our first, not the machine's
        ("4,2", ("1",), ["2"]),
        ("GPU-8a,GPU-9b", ("1", "GPU-8a"), ["GPU-9b", "GPU-8a"]),
    ],
)
def test_gpus_are_counted_among_those_that_we_may_see(
    assignment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    asked: tuple[str, ...],
    given: list[str],
) -> None:
    see(monkeypatch, visible)
    engine = share_host(None, "cuda", gpus=asked)
    seen = []
    workers = [engine.start(assignment) for _ in asked]
    for worker in workers:
        seen += heard(engine, worker)
        worker.close()
    assert [message["gpu"] for message in seen] == given


UUIDS = {"0": "GPU-8a11", "1": "GPU-8b22", "2": "MIG-33"}


@pytest.mark.parametrize(
    ("visible", "asked", "chosen"),
    [
        (None, ("0",), ["GPU-8a11"]),
        (None, ("GPU-8a",), ["GPU-8a11"]),  # as CUDA allows it
        (None, (), ["GPU-8a11", "GPU-8b22"]),
        ("1", (), ["GPU-8b22"]),
        ("GPU-8b,GPU-8a", ("0", "GPU-8a11"), ["GPU-8b22", "GPU-8a11"]),
        ("MIG-33", ("0",), ["MIG-33"]),
        ("1,-1,0", (), ["GPU-8b22"]),  # CUDA hides what follows a -1
    ],
)
def test_a_gpu_has_one_name_however_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: tuple[str, ...], chosen: list[str]
) -> None:
    """Two launchers then take the same lock."""
    see(monkeypatch, visible)
    monkeypatch.setattr(gpus, "machine_uuids", lambda: UUIDS)
    assert gpus.choose(asked) == chosen


def test_one_gpu_under_two_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, None)
    monkeypatch.setattr(gpus, "machine_uuids", lambda: UUIDS)
    with pytest.raises(UserError, match="got GPU-8a11 twice"):
        gpus.choose(("0", "GPU-8a11"))


def test_uuids_are_those_that_the_driver_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.machine_uuids() == {}
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-8a11'\necho '1, GPU-8b22'\n")
    tool.chmod(0o755)
    assert gpus.machine_uuids() == {"0": "GPU-8a11", "1": "GPU-8b22"}
    assert gpus.environment_of("GPU-8a11")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(
    ("visible", "asked", "message"),
    [
        (None, ("0", "2"), "numbers from 0 to 1.*got 2"),
        ("5", ("1",), "numbers from 0 to 0.*got 1"),
        (None, ("-1",), "got -1"),
        (None, ("0", "0"), "got 0 twice; --per-gpu"),
        ("7,3", ("0", "7"), "got 7"),
    ],
)
def test_gpus_that_are_not_there_are_refused_before_a_trial_fails_on_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: tuple[str, ...], message: str
) -> None:
    see(monkeypatch, visible)
    with pytest.raises(UserError, match=message):
        share_host(None, "cuda", gpus=asked)


def see(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    """Two GPUs, or those that the environment shows."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    count = 2 if visible is None else visible.count(",") + 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "cpu", ("0",), 1), "needs --device cuda"),
        ((2, "cuda", ("0",), 1), "got --workers 2 too"),
        ((None, "cpu", (), 2), "got 2 with --device cpu"),
        ((3, "cuda", (), 2), "leave it or --workers out"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    count, device, gpus, per_gpu = arguments
    with pytest.raises(UserError, match=message):
        share_host(count, device, gpus=gpus, per_gpu=per_gpu)


def test_runs_on_several_gpus_take_groups_of_them(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    see(monkeypatch, "9,8,7,6,5")
    engine = share_host(None, "cuda", num_ranks=2)
    assert (engine.num_workers, engine.num_threads, engine.num_ranks) == (2, 2, 2)
    assert engine._places == [("9,8", 0), ("7,6", 0)], "5 makes no group"
    workers = [engine.start(assignment) for _ in range(2)]
    assert [m["gpu"] for w in workers for m in heard(engine, w)] == ["9,8", "7,6"]
    for worker in workers:
        assert worker is not None
        worker.close()
    assert share_host(None, "cpu", num_ranks=2).num_workers == 4
    assert share_host(1, "cpu", num_ranks=2).num_threads == 4


def test_a_group_is_taken_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of two launchers overlap: neither holds a GPU while it lacks another."""
    first = engines._taken("7,6", 0)
    assert first is not None
    assert engines._taken("6,5", 0) is None
    assert engines._taken("7", 0) is None
    other = engines._taken("5", 0)
    assert other is not None, "it was let go"
    for held in (first, other):
        held.close()
    both = engines._taken("6,5", 0)
    assert both is not None
    both.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_ranks": 3}, "--gpus-per-run 3 needs 3 GPUs on this machine, got 2; lower it"),
        ({"num_ranks": 2, "per_gpu": 2}, "got --per-gpu 2 and --gpus-per-run 2; leave one out"),
        ({"num_ranks": 2, "num_workers": 2}, "--workers 2 of --gpus-per-run 2 need 4 GPUs, got 1"),
    ],
)
def test_more_gpus_than_there_are_are_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, int], message: str
) -> None:
    see(monkeypatch, None)
    with pytest.raises(UserError, match=message):
        share_host(**{"num_workers": None, "device": "cuda", **arguments})  # type: ignore[arg-type]
