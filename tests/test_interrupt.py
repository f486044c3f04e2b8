"""Ctrl-C at any moment: "interrupted", exit 130, no traceback of anybody; the same command goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
SMALL = ("--set", "model.width=16", "--set", "model.convs=[[16, 11, 3]]", "--budget", "smoke")
SWEEP = ("bench.sweep", "--variant", "ds-gru", "--corpus", "spoken-tiny", "--json", *SMALL)

Send = Callable[[int, int], None]
TERMINAL, PARENT_ALONE = os.killpg, os.kill


def begin(
    folder: Path, *arguments: str, prelude: str | None = None, **environment: str
) -> "subprocess.Popen[str]":
    """A command in a session of its own, as a terminal has it; `prelude` is a program to run before
    it in the same process."""
    command = ["-m", *arguments]
    if prelude is not None:
        path = folder / "prelude"
        path.mkdir(exist_ok=True)
        (path / "usercustomize.py").write_text(prelude)
        environment["PYTHONPATH"] = f"{path}:{ROOT}"
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job, such as this one may be, ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end(process: "subprocess.Popen[str]", at: str) -> bool:
    """Check how an interrupted command ended; whether it had been over before."""
    out, err = process.communicate(timeout=200)
    told = f"{at}: exit {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, told
    assert "KeyboardInterrupt" not in err, told
    if process.returncode == 0:
        json.loads(out)
        return True
    assert process.returncode == 130, told
    assert err.splitlines()[-1] == "interrupted", told
    assert out == "", told
    return False


def survivors(session: int) -> list[psutil.Process]:
    """The processes of `session` that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


def all_gone(session: int, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while survivors(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


WHEN = {
    "start": "",
    "synthesis": "cache/spoken/*/*/*.wav",
    "corpus is spoken": "cache/spoken/*/.completed",
    "features": "cache/features/*/*",
    "database": "mlflow.db",
    "trial": "out/*/runs/*/trial-*/run.json",
    "checkpoint": "out/*/runs/*/trial-*/checkpoints/last.pt",
    "trial ended": "out/*/runs/*/trial-*/summary.json",
    "confirm": "out/*/runs/*/confirm-*/run.json",
    "confirm ended": "out/*/runs/*/confirm-*/summary.json",
    "report": "out/*/report.html",
}
"""Moments, by the files whose change shows that they have come."""
LOST = {
    "synthesis": "cache", "corpus is spoken": "cache", "features": "cache/features",
    "database": "mlflow.db",
}  # fmt: skip
"""What is deleted first, so that the moment comes again."""
PATIENCE_SECONDS = 25.0


def await_moment(process: "subprocess.Popen[str]", folder: Path, pattern: str, since: int) -> None:
    """Until a file of `pattern` has changed `since` then, or that is not to come any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if any(path.stat().st_mtime_ns > since for path in folder.glob(pattern)):
            return
        time.sleep(0.02)


def interrupt_at(name: str, folder: Path, send: Send, rng: random.Random) -> None:
    """Begin the sweep, send Ctrl-C soon after the moment `name`, and check how the sweep ends."""
    for lost in (folder / LOST[name],) if name in LOST else ():
        shutil.rmtree(lost, ignore_errors=True) if lost.is_dir() else lost.unlink(missing_ok=True)
    (folder / "now").touch()
    since, began = (folder / "now").stat().st_mtime_ns, time.monotonic()
    process = begin(folder, *SWEEP, BENCH_CACHE=str(folder / "cache"))
    if WHEN[name]:
        await_moment(process, folder, WHEN[name], since)
    delay = 0.05 + rng.random() ** 2 * (8 if name == "start" else 3)
    time.sleep(delay)
    if process.poll() is None:
        send(process.pid, signal.SIGINT)
    sent_at, when = time.monotonic(), f"{delay:.2f} s after {name}"
    process.wait(timeout=200)
    seconds = time.monotonic() - sent_at
    end(process, when)
    print(
        f"{when:>30}, {sent_at - began:.1f} s after the start: exit {process.returncode}, "
        f"{seconds:.1f} s later"
    )
    assert all_gone(process.pid), f"{when}: {survivors(process.pid)}"


@pytest.mark.slow
@pytest.mark.parametrize("send", [TERMINAL, PARENT_ALONE], ids=["terminal", "parent alone"])
def test_ctrl_c_at_random_moments_of_a_sweep(tmp_path: Path, send: Send) -> None:
    """BENCH_INTERRUPT_SEED draws other moments; BENCH_INTERRUPTS of them."""
    rng = random.Random(int(os.environ.get("BENCH_INTERRUPT_SEED", "1")))
    count = int(os.environ.get("BENCH_INTERRUPTS", "22"))
    for name in WHEN:
        for _ in range(max(1, count // len(WHEN))):
            interrupt_at(name, tmp_path, send, rng)
    process = begin(tmp_path, *SWEEP, BENCH_CACHE=str(tmp_path / "cache"))
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    (variant,) = json.loads(out)["variants"]
    assert (variant["num_trials"], variant["num_seeds"]) == (2, 2)
    for path in tmp_path.glob("out/*/runs/*/*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(row["key"], row["step"]) for row in rows]
        assert len(points) == len(set(points)), "each step is logged once"
    assert len(list(tmp_path.glob("out/*/runs/*/*/summary.json"))) == 4
