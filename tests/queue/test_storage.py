"""Claims are exclusive, also beside a frozen holder; a database may be gone for a while."""

import getpass
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from bench.core.errors import TemporaryError, UserError
from bench.queue import lease as leases
from bench.queue import storage as storages
from bench.queue.storage import (
    QUEUE,
    QueueStorage,
    check_queue,
    check_shared,
    dashboard_address,
    is_queue_of,
    retry_until_available,
)
from tests.postgresql import PostgreSQL

GONE = OperationalError("select", {}, Exception("connection refused at 127.0.0.1"))


def _lock_and_hang(url: str | None, folder: Path, ready: Connection) -> None:
    with QueueStorage(url, folder, num_workers=2).exclusive_lock():
        ready.send(True)
        signal.pause()


@contextmanager
def opened(url: str | None, folder: Path) -> Iterator[QueueStorage]:
    with closing(QueueStorage(url, folder, num_workers=2)) as storage:
        yield storage


@pytest.fixture
def frozen(
    tmp_path: Path, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BaseProcess]:
    """A process that stands still inside a lock; the patience of others is a second."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr("bench.queue.storage.LOCK_SECONDS", 1.0)
    here, there = context.Pipe()
    holder = context.Process(target=_lock_and_hang, args=(url, tmp_path, there), daemon=True)
    holder.start()
    assert here.recv()
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    yield holder
    assert holder.is_alive(), "killed by one whose child it is not"
    holder.kill()
    holder.join()


@pytest.mark.parametrize("url", [None])
def test_who_stands_still_inside_a_lock_is_named_and_lives(
    tmp_path: Path, url: None, frozen: BaseProcess
) -> None:
    with opened(url, tmp_path) as storage:
        with pytest.raises(TemporaryError) as caught, storage.exclusive_lock():
            pytest.fail("two are inside")
        named = f".claim.lock is held by process {frozen.pid} of {getpass.getuser()} on "
        assert named in str(caught.value)
        assert "kill -CONT" in str(caught.value)


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    holder = context.Process(target=_lock_and_hang, args=(None, tmp_path, there), daemon=True)
    holder.start()
    assert here.recv()
    holder.kill()
    with opened(None, tmp_path) as storage, storage.exclusive_lock():
        pass
    holder.join()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_database_ends_the_session_of_who_stands_still_inside_a_lock(
    tmp_path: Path, url: str, frozen: BaseProcess
) -> None:
    inside = threading.Event()

    def hold() -> None:
        with opened(url, tmp_path) as storage, storage.exclusive_lock():
            inside.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert not inside.wait(0.3)
    thread.join(20)
    assert inside.is_set()


def test_who_stands_still_with_a_lease_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "LEASE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(leases, "TOUCHES_PER_GRACE", 1e-9)  # it gives no sign of life
    with opened(None, tmp_path) as storage, storage.exclusive_lease(grace_seconds=0.05):
        second = storage.exclusive_lease(grace_seconds=0.05)
        with pytest.raises(TemporaryError, match=f"held by process {os.getpid()} of"), second:
            pytest.fail("two are alone")


def test_one_at_a_time_is_alone(tmp_path: Path, url: str | None) -> None:
    seen: list[str] = []

    def enter(name: str) -> None:
        with opened(url, tmp_path) as storage, storage.exclusive_lease(grace_seconds=60.0):
            seen.append(f"{name} in")
            time.sleep(0.2)
            seen.append(f"{name} out")

    threads = [threading.Thread(target=enter, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = seen[0][0], seen[2][0]
    assert seen == [f"{first} in", f"{first} out", f"{second} in", f"{second} out"]


def test_a_call_is_repeated_while_the_database_is_gone() -> None:
    calls = []

    def call() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise GONE
        if len(calls) == 2:
            raise StorageInternalError("in the commit") from GONE
        return "done"

    assert retry_until_available(call, patience_seconds=30.0) == "done"
    assert len(calls) == 3


def test_patience_ends() -> None:
    def call() -> None:
        raise GONE

    with pytest.raises(TemporaryError, match=r"does not answer \(connection refused"):
        retry_until_available(call, patience_seconds=0.0)
    with pytest.raises(TemporaryError):
        retry_until_available(call, patience_seconds=1e9, is_stopped=lambda: True)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), TemporaryError("stopped by SIGTERM")])
def test_a_request_to_stop_is_no_outage(stop: BaseException) -> None:
    """The driver is in mid-command when the signal comes, and fails as it clears up."""

    def call() -> None:
        try:
            try:
                raise stop
            finally:
                raise RuntimeError("another command is already in progress")
        except RuntimeError as error:
            raise OperationalError("rollback", {}, error) from error

    with pytest.raises(type(stop)) as caught:
        retry_until_available(call, patience_seconds=30.0)
    assert caught.value is stop


def test_what_is_no_outage_is_not_repeated() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise StorageInternalError("too long") from ValueError("too long")

    with pytest.raises(StorageInternalError):
        retry_until_available(call)
    assert len(calls) == 1


def test_sqlite_holds_one_worker_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    with pytest.raises(UserError, match="SQLite holds a study of one worker only, got 2") as caught:
        QueueStorage(url, tmp_path, num_workers=2)
    assert "--workers 1" in str(caught.value)
    QueueStorage(url, tmp_path, num_workers=1)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_queue_that_a_worker_could_not_reach_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="in memory"):
        check_shared(url, 1)


def test_a_study_has_one_queue(tmp_path: Path) -> None:
    """A second terminal that forgets --storage would give each slot out a second time."""
    check_queue(tmp_path, "postgresql://me:secret@one/bench")
    check_queue(tmp_path, "postgresql+psycopg://you@127.0.0.1:5433/bench")  # by another name
    assert "secret" not in (tmp_path / QUEUE).read_text()
    for other in (None, "sqlite:///bench", "postgresql://me:secret@one/other"):
        with pytest.raises(UserError, match="has its queue in postgresql bench, got ") as caught:
            check_queue(tmp_path, other)
        assert "secret" not in str(caught.value)


def test_a_storage_of_no_known_kind_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        QueueStorage("nosuch://me:secret@127.0.0.1/x", tmp_path, num_workers=1)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1/x" in str(caught.value)


@pytest.mark.parametrize("url", ["bench", "postgresql://db:port/x"])
def test_what_is_no_address_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=f"an address like postgresql://USER.*, got {url}"):
        QueueStorage(url, tmp_path, num_workers=1)
    with pytest.raises(UserError, match="an address like"):
        is_queue_of(tmp_path, url)


def test_a_missing_driver_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(UserError, match="pip install 'deepspeech-bench"):
        QueueStorage("postgresql://127.0.0.1/x", tmp_path, num_workers=1)


def test_a_server_that_is_down_is_waited_for_and_then_is_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "PATIENCE_SECONDS", 0.6)
    with pytest.raises(TemporaryError, match="does not answer") as caught:
        QueueStorage("postgresql://me:secret@127.0.0.1:1/x", tmp_path, num_workers=1)
    assert "secret" not in str(caught.value)


def test_an_outage_is_survived_by_an_open_storage(tmp_path: Path) -> None:
    with PostgreSQL() as server, opened(server.url, tmp_path) as storage:
        server.stop()
        threading.Timer(1.0, server.start).start()
        names = retry_until_available(storage.optuna.get_all_studies)
        assert names == []


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        ("secret@", "wrong@", "password authentication failed"),
        (":secret@", "@", "no password supplied"),
        ("/postgres", "/nosuch", 'database "nosuch" does not exist'),
    ],
)
def test_who_is_not_let_in_hears_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str, now: str, reason: str
) -> None:
    """Waiting mends no password, and a scheduler would start the command again for ever."""
    monkeypatch.setattr(storages, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with PostgreSQL() as server, pytest.raises(UserError, match=reason) as caught:
        QueueStorage(server.url.replace(was, now), tmp_path, num_workers=1)
    assert "PGPASSWORD" in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_a_plain_address_gets_the_driver_that_the_extra_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy 2.0 takes postgresql:// for psycopg2."""
    asked: list[str] = []

    def create_engine(url: object, **_: object) -> None:
        asked.append(str(url))
        raise ImportError("no driver")

    monkeypatch.setattr(storages.sqlalchemy, "create_engine", create_engine)
    for url in ("postgresql://me:secret@db/x", "postgresql+pg8000://db/x"):
        with pytest.raises(UserError):
            QueueStorage(url, tmp_path, num_workers=1)
    assert asked == ["postgresql+psycopg://me:secret@db/x", "postgresql+pg8000://db/x"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (None, "out/study/optuna.journal"),
        ("postgresql://me:secret@host/queue", "postgresql+psycopg://me:***@host/queue"),
    ],
)
def test_optuna_dashboard_opens_the_queue(url: str | None, address: str) -> None:
    assert dashboard_address(url, Path("out/study")) == address
