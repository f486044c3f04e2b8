"""One round: a sweep in a folder of its own, started again whenever it ends too early, as a
supervisor would."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.core.cli import EXIT_START_AGAIN, EXIT_USER_ERROR
from bench.core.paths import OUT
from bench.queue.lease import FILE as LEASE
from bench.queue.lease import this_host
from bench.runs.state import has_ended
from tests.faults.services import MlflowServer, Postgres

ROOT = Path(__file__).parents[2]
VARIANTS = ("ds-gru", "ds-rnn")
SMALL = ("--set", "model.width=16", "--set", "model.convs=[[16, 11, 3]]", "--budget", "smoke")
GRACE_SECONDS = 4.0
DISK_BYTES = 48 * 2**20
BALLAST = "ballast"
STOP_SECONDS = 150.0
"""For a launcher to end: it waits for a worker's last step, and for a server that does not answer."""
ROOM_SECONDS = 70.0
"""A launcher that has met a full disk waits so long for its workers before it ends."""


@dataclass
class Services:
    """What rounds share, so that it is started once; None where this machine has it not."""

    mlflow: MlflowServer
    postgres: Postgres | None
    database: Path | None = None
    """An empty one of MLflow, to copy: making the tables takes as long as a run."""


@dataclass
class Round:
    """A sweep that is being sabotaged."""

    name: str
    services: Services
    on_postgres: bool
    on_server: bool
    """Whether the runs are tracked on the MLflow server; else in a SQLite file."""
    corpus: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="faults-round-")))
    launcher: "subprocess.Popen[bytes] | None" = None
    company: "subprocess.Popen[bytes] | None" = None
    """A second launcher."""
    exit_codes: list[int] = field(default_factory=list)
    expected_code: int | None = None
    """What the launcher must end with, unless it was done already."""
    told_at: float = math.inf
    """When it was told to stop, by the monotonic clock."""
    disk_is_full: bool = False
    room_since: float = -math.inf
    """When the disk had room again, by the monotonic clock."""
    has_small_disk: bool = False
    broken: list[str] = field(default_factory=list)
    """Invariants that did not hold, in words."""
    ends: dict[Path, str] = field(default_factory=dict)
    """By run folder, when it ended for good: the first that was seen."""
    victims: set[int] = field(default_factory=set)
    """Workers that were harmed, by process number."""
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.folder / OUT / self.name

    @property
    def storage_url(self) -> str | None:
        """Of the queue; None: the journal file."""
        postgres = self.services.postgres
        return postgres.url if self.on_postgres and postgres else None

    @property
    def tracking_uri(self) -> str:
        """Of MLflow, as this process reaches it."""
        if self.on_server:
            return self.services.mlflow.uri
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def is_down(self) -> bool:
        """Whether the launcher has ended."""
        return self.launcher is None or self.launcher.poll() is not None

    def start(self) -> "subprocess.Popen[bytes]":
        """Type the command."""
        command = ["bench.sweep", "--name", self.name, *SMALL, "--no-audio"]
        for variant in VARIANTS:
            command += ["--variant", variant]
        command += ["--corpus", self.corpus, "--workers", "2", "--grace", f"{GRACE_SECONDS:.0f}"]
        if self.storage_url is not None:
            command += ["--storage", self.storage_url]
        return self._begin(command)

    def sync(self) -> None:
        """Send what MLflow missed."""
        if (code := self._begin(["bench.sync", self.name]).wait()) != 0:
            self.broken.append(f"bench.sync ended with {code}")

    def _begin(self, command: list[str]) -> "subprocess.Popen[bytes]":
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        environment["PYTHONPATH"] = str(ROOT)
        if self.on_server:
            environment["MLFLOW_TRACKING_URI"] = self.tracking_uri
        with (self.folder / "sweep.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_without_core_dumps,
            )

    def supervise(self) -> bool:
        """Start the launcher again if it ended too early; whether it is done."""
        if self.launcher is not None and (code := self.launcher.poll()) is not None:
            self.exit_codes.append(code)
            asked = EXIT_START_AGAIN if self.expected_code is None else self.expected_code
            self.expected_code, self.told_at, self.launcher = None, math.inf, None
            if code == 0:
                return True
            if code not in (asked, -signal.SIGKILL, *self._codes_of_full_disk()):
                self.broken.append(f"the launcher ended with {code}")
            if self.disk_is_full:  # as an operator would before a new start
                self.free_disk()
        if time.monotonic() > self.told_at + STOP_SECONDS:
            self.broken.append(f"the launcher goes on {STOP_SECONDS:.0f} s after SIGTERM")
            self.told_at = math.inf
        if self.launcher is None:
            self.launcher = self.start()
        if self.company is not None and (code := self.company.poll()) is not None:
            self.company = None
            allowed = (0, EXIT_START_AGAIN, -signal.SIGKILL, *self._codes_of_full_disk())
            if code not in allowed:
                self.broken.append(f"the second launcher ended with {code}")
        return False

    def _codes_of_full_disk(self) -> tuple[int, ...]:
        lately = time.monotonic() - self.room_since < ROOM_SECONDS
        return (EXIT_USER_ERROR,) if self.disk_is_full or lately else ()

    def free_disk(self) -> None:
        """Make room again."""
        (self.folder / OUT / BALLAST).unlink(missing_ok=True)
        self.disk_is_full, self.room_since = False, time.monotonic()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do `act` in so many seconds, or when the sweep has ended."""
        self._later.append((time.monotonic() + seconds, act))

    def do_what_is_due(self, *, everything: bool = False) -> None:
        """What `later` put off until now."""
        now = time.monotonic()
        due = [act for at, act in self._later if everything or at <= now]
        self._later = [] if everything else [(at, act) for at, act in self._later if at > now]
        for act in due:
            act()

    def watch_ends(self) -> None:
        """Note runs that ended for good, and those that ended again."""
        for path in self.study.glob("runs/*/*/summary.json"):
            if not has_ended(path.parent):
                continue
            try:
                ended = json.loads(path.read_text())["ended_at"]
            except FileNotFoundError:  # begun again just now: seen at the next look
                continue
            first = self.ends.setdefault(path.parent, ended)
            if first != ended:
                self.broken.append(f"{path.parent.name} ended at {first} and again at {ended}")
                self.ends[path.parent] = ended

    def holders(self) -> dict[Path, psutil.Process]:
        """The living workers of this study by the folder of their run."""
        found = {}
        for path in self.study.glob(f"runs/*/*/{LEASE}"):
            try:
                holder = json.loads(path.read_text())
                process = psutil.Process(holder["pid"])
                ours = holder["host"] == this_host() and process.cwd() == str(self.folder)
            except (OSError, ValueError, psutil.Error):
                continue
            if ours and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
                found[path.parent] = process
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that still runs in the round's folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(self.folder)):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def prepare(self) -> None:
        """Put the records on a small disk of their own, if we may; have MLflow's tables ready."""
        if self.services.database is not None:
            shutil.copy(self.services.database, self.folder / "mlflow.db")
        (self.folder / OUT).mkdir()
        size = f"size={DISK_BYTES}"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder / OUT)]
        if os.geteuid() == 0 and shutil.which("mount"):
            done = subprocess.run(mount, check=False, capture_output=True)
            self.has_small_disk = done.returncode == 0

    def remove(self) -> None:
        """Delete everything; what still runs is killed."""
        for process in self.processes():
            process.kill()
        if self.has_small_disk:
            subprocess.run(["umount", "--lazy", str(self.folder / OUT)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _without_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
