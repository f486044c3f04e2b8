"""PostgreSQL and an MLflow server as processes of our own, on 127.0.0.1, to be killed at will."""

import contextlib
import os
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

from tests.postgresql import PostgreSQL

START_SECONDS = 120.0
HOST = "127.0.0.1"


class MlflowServer:
    """`mlflow server` on a SQLite file; keeps its port and its data from one start to the next."""

    def __init__(self) -> None:
        self._folder, self._port = Path(tempfile.mkdtemp(prefix="faults-mlflow-")), _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"http://{HOST}:{self._port}"

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it if it is down; return when it answers, or at once."""
        if not self.is_up:
            command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
            command += ["--host", HOST, "--port", str(self._port)]
            command += ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
            command += ["--artifacts-destination", str(self._folder / "artifacts")]
            # Half a gigabyte and ten seconds to start, in place of two and thirty.
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            with (self._folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
        if wait and not until(self.answers, START_SECONDS):
            raise RuntimeError(f"the MLflow server did not start; see {self._folder}")

    def kill(self) -> None:
        """End it and every process that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def remove(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def answers(self) -> bool:
        """Whether it answers a request."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


class Postgres:
    """The PostgreSQL server of the tests, with a note of whether it is up."""

    def __init__(self) -> None:
        self._server = PostgreSQL().__enter__()
        self.is_up = True

    @property
    def url(self) -> str:
        """For --storage."""
        return self._server.url

    def start(self) -> None:
        """Start it if it is down; return when it answers."""
        if not self.is_up:
            self._server.start()
            self.is_up = True

    def stop_immediately(self) -> None:
        """Cut every session; the log is replayed at the next start."""
        self._server.stop("immediate")
        self.is_up = False

    def remove(self) -> None:
        """End it and delete its data."""
        self.start()  # it ends only what runs
        self._server.__exit__(None, None, None)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return is_true


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
