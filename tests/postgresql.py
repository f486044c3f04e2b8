"""A PostgreSQL server of the tests' own, on 127.0.0.1."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


class PostgreSQL:
    """A server with an empty database; it refuses to run as root, so root hands it to "postgres".

    Skips the test where PostgreSQL is not installed (Debian: postgresql).
    """

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found and shutil.which("pg_ctl") is None:
            pytest.skip("PostgreSQL is not installed")
        self._bin = found[-1] if found else Path(str(shutil.which("pg_ctl"))).parent
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"postgresql://bench:secret@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        password = self._folder / "password"
        password.write_text("secret")
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
            shutil.chown(password, "postgres")
        self._run("initdb", "--auth=scram-sha-256", "--username=bench", f"--pwfile={password}", "--no-sync", "-D", self._data)  # fmt: skip
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-o", options, "-l", log)

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-D", self._data, "-m", mode)

    def _run(self, program: str, *arguments: str) -> None:
        user = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else None
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            user=user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
