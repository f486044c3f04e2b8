"""MPS is started for workers that share a GPU and stopped after them, with a daemon that only writes down."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core import mps
from bench.workers.engine import LocalEngine

Daemon = Callable[..., Path]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """``daemon(status)``: a control program that ends with `status`; the file where it writes what it was
    asked, and with which folder and GPUs."""
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    heard = tmp_path / "heard"

    def install(status: int = 0) -> Path:
        program = tmp_path / mps.CONTROL
        # As the real one: -d starts it, and it is told to stop through its standard input.
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$1 $(cat) $CUDA_MPS_PIPE_DIRECTORY $CUDA_VISIBLE_DEVICES" >> {heard}\n'
            'test -d "$CUDA_MPS_LOG_DIRECTORY" || exit 9\n'
            f"test {status} = 0 || echo no such GPU >&2\n"
            f"exit {status}\n"
        )
        program.chmod(0o755)
        return heard

    return install


def test_starts_before_and_stops_after(daemon: Daemon) -> None:
    heard = daemon()
    with mps.sharing(["GPU-1", "GPU-2"]) as variables:
        folder = Path(variables[mps.PIPES])
        assert folder.is_dir()
        assert len(str(folder)) < 60, "sockets have short paths"
        assert heard.read_text() == f"-d  {folder} GPU-1,GPU-2\n"
    assert heard.read_text().splitlines()[1:] == [f" quit {folder} "]
    assert not folder.exists()


def test_stops_whatever_happens(daemon: Daemon) -> None:
    heard = daemon()
    with pytest.raises(KeyboardInterrupt), mps.sharing(["GPU-1"]):
        raise KeyboardInterrupt
    assert "quit" in heard.read_text()


def test_a_daemon_that_keeps_its_output_open_is_not_waited_for(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has started once the program that starts it has ended."""
    heard, number = daemon(), tmp_path / "number"
    program = tmp_path / mps.CONTROL
    stays = f'test "$1" != -d || {{ sleep 60 & echo $! > {number}; }}\n'
    program.write_text(program.read_text().replace("exit 0\n", f"{stays}exit 0\n"))
    monkeypatch.setattr(mps, "START_SECONDS", 20.0)
    try:
        with mps.sharing(["GPU-1"]) as variables:
            assert mps.PIPES in variables
    finally:
        os.kill(int(number.read_text()), signal.SIGKILL)
    assert heard.read_text().count("quit") == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_without_it_workers_take_turns(
    daemon: Daemon, is_there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if is_there:
        heard = daemon(status=1)
    with caplog.at_level(logging.WARNING), mps.sharing(["GPU-1"]) as variables:
        assert variables == {}
    assert ("no such GPU" if is_there else "No such file") in caplog.text
    if is_there:
        assert "quit" not in heard.read_text(), "what did not start is not stopped"


def test_the_users_own_daemon_is_left_alone(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = daemon()
    monkeypatch.setenv(mps.PIPES, "/run/mine")
    with mps.sharing(["GPU-1"]) as variables:
        assert variables == {mps.PIPES: "/run/mine"}
    assert not heard.exists()


@pytest.mark.parametrize("per_gpu", [1, 2])
def test_an_engine_shares_by_it_and_stops_it(daemon: Daemon, per_gpu: int) -> None:
    heard = daemon()
    engine = LocalEngine(per_gpu, 1, gpus=("GPU-1",), per_gpu=per_gpu)
    assert heard.exists() == (per_gpu > 1)
    assert (mps.PIPES in engine._variables) == (per_gpu > 1)
    engine.close()
    assert not heard.exists() or heard.read_text().count("quit") == 1
