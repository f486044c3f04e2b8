"""PostgreSQL and an MLflow server as processes of our own, on 127.0.0.1, to be killed at will."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

START_SECONDS = 120.0
HOST = "127.0.0.1"
PROGRAMS = ("initdb", "postgres", "pg_isready")


class Service:
    """A server that keeps its port and its data from one start to the next."""

    def __init__(self, command: list[str], folder: Path, *, user: str | None = None) -> None:
        self._command = command
        self._folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it if it is down; return when it answers, or at once."""
        if not self.is_up:
            with (self._folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    user=self._user,
                    start_new_session=True,
                    env=self._environment(),
                )
        if wait and not until(self.answers, START_SECONDS):
            raise RuntimeError(f"{self._command[0]} did not start; see {self._folder}")

    def kill(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """End it and every process that it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signum)
        self._process.wait()

    def remove(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def answers(self) -> bool:
        """Whether it answers a request."""
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)


class MlflowServer(Service):
    """`mlflow server` on a SQLite file."""

    def __init__(self) -> None:
        folder, self._port = Path(tempfile.mkdtemp(prefix="faults-mlflow-")), free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", HOST, "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        super().__init__(command, folder)

    @property
    def uri(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"http://{HOST}:{self._port}"

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        # Half a gigabyte and ten seconds to start, in place of two and thirty.
        return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Postgres(Service):
    """PostgreSQL on a folder of its own; it refuses root, so then it runs as `postgres`."""

    def __init__(self) -> None:
        folder, self._port = Path(tempfile.mkdtemp(prefix="faults-postgres-")), free_port()
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(folder, user, user)
        data = folder / "data"
        initdb = [_server_program("initdb"), "-D", str(data), "--auth", "trust", "--no-sync"]
        initdb += ["--username", "bench", "--encoding", "UTF8", "--locale", "C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
        command = [_server_program("postgres"), "-D", str(data), "-k", str(folder)]
        super().__init__([*command, "-h", HOST, "-p", str(self._port)], folder, user=user)

    @property
    def url(self) -> str:
        """For --storage."""
        return f"postgresql+psycopg://bench@{HOST}:{self._port}/postgres"

    def stop_immediately(self) -> None:
        """What `pg_ctl stop -m immediate` does: sessions are cut, the log is replayed later."""
        self.kill(signal.SIGQUIT)

    def answers(self) -> bool:
        ready = [_server_program("pg_isready"), "-q", "-h", HOST, "-p", str(self._port)]
        return subprocess.run(ready, check=False).returncode == 0


def lack_of_postgres() -> str | None:
    """Why PostgreSQL cannot be run here; None if it can."""
    if not list(_server_folders()):
        return "no PostgreSQL server programs; apt-get install postgresql brings them"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL refuses root, and there is no user postgres"
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return is_true


def _server_folders() -> list[Path]:
    """Debian keeps the programs of the server out of PATH."""
    on_path = [Path(found).parent] if (found := shutil.which("initdb")) else []
    folders = [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return [f for f in folders if all((f / program).exists() for program in PROGRAMS)]


def _server_program(name: str) -> str:
    return str(_server_folders()[0] / name)
