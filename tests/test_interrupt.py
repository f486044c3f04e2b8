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
        (path / "sitecustomize.py").write_text(prelude)
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


SLOW_IMPORT = """
import os, pathlib, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rich.table":
            pathlib.Path(os.environ["READY"]).touch()
            time.sleep(60)

sys.meta_path.insert(0, Finder())
"""


def said_by(program: str) -> tuple[str, str, int]:
    """What a program prints, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    return done.stdout, done.stderr, done.returncode


def test_ctrl_c_while_a_command_imports(tmp_path: Path) -> None:
    """It takes seconds; bench.ls stands for every command."""
    process = begin(tmp_path, "bench.ls", prelude=SLOW_IMPORT, READY=str(tmp_path / "ready"))
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


LISTENING = (
    "import signal\nfrom bench.core.interrupt import leave_at_once, raised\nleave_at_once()\n"
)
"""The beginning of a program that answers Ctrl-C as commands do."""


def test_who_ignores_ctrl_c_goes_on_ignoring_it(tmp_path: Path) -> None:
    """nohup, and a background job of a script."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + LISTENING + "\n"
        "with raised():\n  signal.raise_signal(signal.SIGINT)\n"
        "print('on')"
    )
    assert said_by(program) == ("on\n", "", 0)


def test_a_librarys_import_leaves_ctrl_c_as_it_is() -> None:
    program = (
        "import bench.core.cli, signal\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    assert said_by(program) == ("True\n", "", 0)


def test_ctrl_c_in_a_callback_that_can_raise_nothing_is_not_lost() -> None:
    program = (
        LISTENING + "import os, time, weakref\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))\n"
        "try:\n"
        "    with raised():\n"
        "        del thing\n"
        "        print('lost', flush=True)\n"
        "        time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('heard')\n"
    )
    assert said_by(program) == ("lost\nheard\n", "", 0)


def test_what_fails_because_of_ctrl_c_is_no_error_of_its_own() -> None:
    program = (
        LISTENING + "try:\n"
        "    with raised():\n"
        "        try:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "        except KeyboardInterrupt:\n"
        "            raise ValueError('the answer is torn')\n"
        "except KeyboardInterrupt:\n"
        "    print('heard')\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    assert said_by(program) == ("heard\n", "interrupted\n", 130)


def test_ctrl_c_while_a_text_is_executed_ends_with_its_exit_code_too(tmp_path: Path) -> None:
    """Python notes it as not caught, whoever catches it, and would end by the signal."""
    program = (
        LISTENING + "try:\n"
        "    with raised():\n"
        "        exec('signal.raise_signal(signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)\n"
    )
    (tmp_path / "command.py").write_text(program)
    process = begin(tmp_path, "command", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_a_process_that_is_kept_from_ctrl_c_ends_with_who_started_it() -> None:
    program = (
        "import os, signal, subprocess, sys\n"
        "from bench.core.interrupt import kept_from_children\n"
        "with kept_from_children():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'input(); print(1)'], stdin=subprocess.PIPE)\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "os.killpg(0, signal.SIGINT)\n"
        "child.communicate(b'\\n')\n"
        "print(child.returncode)\n"
    )
    assert said_by(program) == ("1\n0\n", "", 0)


WHEN = {
    "start": "",
    "synthesis": "cache/spoken/*/*/*.wav",
    "corpus is spoken": "cache/spoken/*/manifest.jsonl",
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
PATIENCE_SECONDS = 90.0


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
    if list(folder.glob(WHEN["report"])) and name != "report":
        shutil.rmtree(folder / "out")  # it is over: only a study begun anew has such a moment
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
    (system,) = json.loads(out)["systems"]
    assert (system["num_trials"], system["num_seeds"]) == (2, 2)
    for path in tmp_path.glob("out/*/runs/*/*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(row["key"], row["step"]) for row in rows]
        assert len(points) == len(set(points)), "each step is logged once"
    assert len(list(tmp_path.glob("out/*/runs/*/*/summary.json"))) == 4
