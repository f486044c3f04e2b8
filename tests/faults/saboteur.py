"""The kinds of faults. Each is injected by a function that says what it hit, or None if there was
nothing to hit at this moment."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.core.cli import EXIT_START_AGAIN
from bench.core.paths import OUT
from bench.queue.lease import FILE as LEASE
from bench.runs.layout import read_json
from tests.faults.rounds import BALLAST, GRACE_SECONDS, Round

Hit = Callable[[Round, random.Random], str | None]


@dataclass(frozen=True)
class Kind:
    """One way to do harm."""

    name: str
    inject: Hit
    is_possible: Callable[[Round], bool] = lambda _: True


def kill_worker(signum: signal.Signals) -> Hit:
    """Send `signum` to a worker that holds a run."""

    def inject(at: Round, rng: random.Random) -> str | None:
        if (found := _draw_worker(at, rng)) is None:
            return None
        run, worker = found
        worker.send_signal(signum)
        return f"{run.parent.name} {run.name}, process {worker.pid}"

    return inject


def freeze_worker(at: Round, rng: random.Random) -> str | None:
    """Stop a worker until long after its grace, then let it go on: by then it must have been killed,
    or have its run still because no launcher was there to take it."""
    if (found := _draw_worker(at, rng)) is None:
        return None
    run, worker = found
    worker.suspend()

    def thaw() -> None:
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return
        if (holder := read_json(run / LEASE)) is None or holder["pid"] != worker.pid:
            at.broken.append(f"{run.name}: given away while its frozen worker could still wake up")
        worker.resume()

    at.later(5 * GRACE_SECONDS + rng.uniform(0, 5), thaw)
    return f"{run.parent.name} {run.name}, process {worker.pid}"


def kill_launcher(at: Round, rng: random.Random) -> str | None:
    """End the launcher without a word; its workers must notice."""
    if at.is_down or at.expected_code is not None or at.launcher is None:
        return None
    at.launcher.kill()
    return f"process {at.launcher.pid}, {len(at.holders())} workers"


def terminate_launcher(at: Round, rng: random.Random) -> str | None:
    """Ask the launcher to end; it must say "start me again"."""
    if at.is_down or at.expected_code is not None or at.launcher is None:
        return None
    if not _handles(at.launcher.pid, signal.SIGTERM):
        return None  # still importing
    at.expected_code, at.told_at = EXIT_START_AGAIN, time.monotonic()
    at.launcher.terminate()
    return f"process {at.launcher.pid}"


def join_and_kill(at: Round, rng: random.Random) -> str | None:
    """A second launcher joins, works for a while, and is killed."""
    if at.is_down or at.company is not None:
        return None
    company = at.company = at.start()
    # It needs seconds to begin: some die before, some with workers at work.
    at.later(rng.uniform(2, 25), company.kill)
    return f"process {company.pid}"


def kill_mlflow(at: Round, rng: random.Random) -> str | None:
    """Kill the tracking server; it comes back, or only once the sweep has ended."""
    server = at.services.mlflow
    if at.is_down or not server.is_up or not server.answers():
        return None
    server.kill()
    if rng.random() < 0.25:
        return "for good"
    seconds = rng.uniform(2, 15)
    at.later(seconds, lambda: server.start(wait=False))
    return f"for {seconds:.0f} s and its start"


def stop_postgres(at: Round, rng: random.Random) -> str | None:
    """Cut every session of the queue's database; it comes back in seconds."""
    postgres = at.services.postgres
    if at.is_down or postgres is None or not postgres.is_up or not at.holders():
        return None
    postgres.stop_immediately()
    seconds = rng.uniform(0.5, 12)
    at.later(seconds, postgres.start)
    return f"for {seconds:.0f} s"


def damage_checkpoint(at: Round, rng: random.Random) -> str | None:
    """Damage the newest checkpoint of a run, then kill its worker."""
    if (found := _draw_worker(at, rng, with_checkpoint=True)) is None:
        return None
    run, worker = found
    worker.suspend()  # or it might write a whole one in between
    path = run / "checkpoints" / "last.pt"
    try:
        content = bytearray(path.read_bytes())
        how = rng.choice(["flipped", "truncated", "emptied"])
        if how == "flipped":
            # In the middle of the file lie weights, not the padding that no checksum covers.
            content[len(content) // 2] ^= 0xFF
        size = {"flipped": len(content), "truncated": rng.randrange(1, len(content)), "emptied": 0}
        path.write_bytes(content[: size[how]])
    except OSError:  # between two renames, or no room
        how = "only its worker killed"
    worker.kill()
    return None if how.startswith("only") else f"{run.parent.name} {run.name}, {how}"


def fill_disk(at: Round, rng: random.Random) -> str | None:
    """Leave no byte on the disk of the records for some seconds."""
    if at.is_down or at.disk_is_full or not at.holders():
        return None
    at.disk_is_full = True
    _fill(at.folder / OUT / BALLAST)
    seconds = rng.uniform(2, 8)
    at.later(seconds, at.free_disk)
    return f"for at most {seconds:.0f} s"


KINDS = (
    Kind("worker killed (SIGKILL)", kill_worker(signal.SIGKILL)),
    Kind("worker told to stop (SIGTERM)", kill_worker(signal.SIGTERM)),
    Kind("worker crashed (SIGSEGV)", kill_worker(signal.SIGSEGV)),
    Kind("worker frozen past its grace (SIGSTOP)", freeze_worker),
    Kind("launcher killed (SIGKILL)", kill_launcher),
    Kind("launcher told to stop (SIGTERM)", terminate_launcher),
    Kind("second launcher joins, killed", join_and_kill),
    Kind("MLflow server killed", kill_mlflow, lambda at: at.on_server),
    Kind("PostgreSQL stopped at once", stop_postgres, lambda at: at.on_postgres),
    Kind("newest checkpoint damaged, worker killed", damage_checkpoint),
    Kind("disk full", fill_disk, lambda at: at.has_small_disk),
)


def _draw_worker(
    at: Round, rng: random.Random, *, with_checkpoint: bool = False
) -> tuple[Path, psutil.Process] | None:
    # One victim, one fault: a worker that was told to stop takes a moment to do so.
    held = sorted((run, p) for run, p in at.holders().items() if p.pid not in at.victims)
    if with_checkpoint:
        held = [(run, p) for run, p in held if (run / "checkpoints" / "last.pt").exists()]
    if not held:
        return None
    run, worker = rng.choice(held)
    at.victims.add(worker.pid)
    return run, worker


def _handles(pid: int, signum: signal.Signals) -> bool:
    """Whether process `pid` has a handler of its own for `signum`."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signum - 1) & 1)


def _fill(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (2**20, 2**12, 1):
            while _takes(handle, size):
                pass
    finally:
        os.close(handle)


def _takes(handle: int, size: int) -> bool:
    try:
        return os.write(handle, bytes(size)) == size
    except OSError:
        return False
