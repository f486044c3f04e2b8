"""Where a study's queue is kept: a journal file, SQLite or PostgreSQL, by Optuna.

    queue        serves                        its lock (`QueueStorage.exclusive_lock`)
    journal      processes of one machine      flock on .claim.lock in the study's folder
    SQLite       one process                   the same
    PostgreSQL   machines                      pg_advisory_lock, of a session that the server ends
                                               when its client is silent

Optuna makes each call atomic, not two calls: between "is a trial waiting?" and "it is mine" another
worker may take it, and two processes that create the tables ruin them. Such pairs happen under the
lock, for moments. What takes longer (writing the report) happens under a lease on the study's
folder, which has a heartbeat.

The queue says who may run what. How a run ended is copied into it from the run's folder.
"""

import contextlib
import functools
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import InterfaceError, OperationalError

from bench.core.config import digest
from bench.core.errors import TemporaryError, UnwritableError, UserError
from bench.core.files import LOCK_SECONDS, exclusive_lock, write_text
from bench.core.masking import mask
from bench.queue.journal import WholeLinesBackend
from bench.queue.lease import LeaseWatch

JOURNAL, QUEUE = "optuna.journal", "queue.txt"
LOCK = ".claim.lock"
"""In a folder of runs: the lock under which runs are given out."""
PATIENCE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 8.0
LEASE_POLL_SECONDS = 0.5
# PostgreSQL's own words, since a connection that fails carries no error code.
_REFUSAL = re.compile(
    r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry"
)

T = TypeVar("T")
P = ParamSpec("P")

_logger = logging.getLogger(__name__)


class QueueStorage:
    """The storage at `url`, or the journal file of the study in `folder`."""

    def __init__(self, url: str | None, folder: Path, *, num_workers: int) -> None:
        """Open it, and make its tables if it has none.

        Raises:
            UserError: as `check_shared`; an address that cannot be used, a database that refuses
                the connection.
            TemporaryError: a database that does not answer.
            UnwritableError: the folder cannot be made.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableError(folder, error) from error
        self._folder = folder
        self._engine: sqlalchemy.Engine | None = None
        if url is None:
            self.optuna: BaseStorage = JournalStorage(WholeLinesBackend(folder / JOURNAL))
            return
        check_shared(url, num_workers)
        try:
            url = _with_driver(url)
            # A connection that the server has closed meanwhile is replaced before it is used.
            engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
            if engine.dialect.name == "postgresql":
                self._engine = engine
            # SQLite is a file: what fails once fails again. A database server may be starting.
            patience = 0.0 if engine.dialect.name == "sqlite" else PATIENCE_SECONDS
            self.optuna = retry_until_available(
                lambda: self._open_tables(url), patience_seconds=patience
            )
        except ModuleNotFoundError as error:
            raise UserError(
                f"storage {mask(url)} needs the package {error.name}, which is not installed; "
                "python -m pip install 'deepspeech-bench[postgresql]' brings it"
            ) from error
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                mask(f"storage {url} cannot be opened: {reason}; check the URL")
            ) from error

    def _open_tables(self, url: str) -> BaseStorage:
        try:
            with self.exclusive_lock():
                return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except OperationalError as error:
            if not _REFUSAL.search(str(error.orig)):
                raise
            # Not an outage: waiting or starting again would not help.
            raise UserError(
                f"the database refuses the connection ({_reason(error)}); correct --storage "
                f"{mask(url)}, or put the password into PGPASSWORD or ~/.pgpass"
            ) from error

    def close(self) -> None:
        """Close the connections to a database."""
        engines = [self._engine, getattr(self.optuna, "engine", None)]
        for engine in filter(None, engines):
            engine.dispose()

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        """A lock among all processes that work on the study, to be held for moments.

        A database ends the session of a holder that is silent for LOCK_SECONDS.

        Raises:
            TemporaryError: a process of a queue in a file stands still inside; names it.
            UnwritableError: the lock's file cannot be written.
        """
        if self._engine is None:
            with exclusive_lock(self._folder / LOCK, patience_seconds=LOCK_SECONDS):
                yield
            return
        # One lock per study and server. PostgreSQL names advisory locks by signed 64-bit integers:
        # 15 hexadecimal digits are 60 bits. The folder's name, not its path: machines may mount the
        # same folder at different places.
        key = int(digest(self._folder.name)[:15], 16)
        # The lock belongs to the session. With AUTOCOMMIT no transaction stays open around it: the
        # server may have another limit for those (idle_in_transaction_session_timeout).
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # A client that stands still (Ctrl-Z) would keep the lock for ever: the server ends its
            # session, which frees the lock.
            limit = sqlalchemy.text(f"SET idle_session_timeout = '{LOCK_SECONDS:.0f}s'")
            connection.execute(limit)
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(key)))
            try:
                yield
            finally:
                # If the session is gone, so is the lock. The connection goes back to a pool, so its
                # limit must not stay: the next borrower may be silent for longer.
                with contextlib.suppress(OperationalError, InterfaceError):
                    connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_unlock(key)))
                    connection.execute(sqlalchemy.text("RESET idle_session_timeout"))

    @contextmanager
    def exclusive_lease(self, *, grace_seconds: float) -> Iterator[None]:
        """A lease on the study's folder, to be held for as long as it takes.

        Raises:
            TemporaryError: a process of this machine stands still inside; names it.
            UnwritableError: the lease cannot be written.
        """
        # Lock, look, let go, and again: the lock is held for moments, so that workers can take and
        # end runs while another launcher writes its report under the lease.
        #
        #     launcher A   [lock] lease ................. report ......... release
        #     launcher B     [lock] held   [lock] held        ...   [lock] lease ....
        #     worker            [lock] take a trial   [lock] end it
        watch = LeaseWatch()
        while True:
            with self.exclusive_lock():
                lease = watch.take(self._folder, grace_seconds=grace_seconds)
            if lease is not None:
                break
            watch.check_holder(self._folder)
            time.sleep(LEASE_POLL_SECONDS)
        with lease:
            yield


def check_shared(url: str | None, num_workers: int) -> None:
    """Refuse a queue that `num_workers` processes cannot share.

    Raises:
        UserError: SQLite with several (Optuna then runs slots twice), or in memory.
    """
    if url is None or not url.startswith("sqlite"):
        return
    if num_workers > 1:
        raise UserError(
            f"SQLite holds a study of one worker only, got {num_workers}; say --workers 1, leave "
            "--storage out (a journal file), or use postgresql://"
        )
    if url.partition("://")[2] in ("", "/", "/:memory:"):
        raise UserError(
            f"the queue must be kept where a worker finds it, got {url}, which is in memory; name "
            "a file, as in sqlite:///queue.db, or leave --storage out (a journal file)"
        )


def check_queue(folder: Path, url: str | None) -> None:
    """Note that the study in `folder` has its queue at `url`, or check that it has.

    Two queues would give each slot out twice.

    Raises:
        UserError: it was begun with another.
    """
    begun, name = _queue_of(folder), _queue_name(url)
    if begun is None:
        write_text(folder / QUEUE, name + "\n")
    elif begun != name:
        raise UserError(
            f"study {folder.name} has its queue in {begun}, got {name}; all its workers need the "
            "same: name that --storage (for a journal leave it out), or begin another study with "
            "--name"
        )


def is_queue_of(folder: Path, url: str | None) -> bool:
    """Whether the study in `folder` has its queue at `url`."""
    return _queue_of(folder) == _queue_name(url)


def _queue_of(folder: Path) -> str | None:
    """The name of the queue that the study in `folder` was begun with, or None."""
    kept = folder / QUEUE
    return kept.read_text(encoding="utf-8").strip() if kept.exists() else None


def _queue_name(url: str | None) -> str:
    """What tells queues apart and is the same on all machines, which may call the server by
    different names."""
    if url is None:
        return "journal"
    parsed = _parsed(url)
    return f"{parsed.get_backend_name()} {parsed.database or ''}".strip()


def dashboard_address(url: str | None, folder: Path) -> str:
    """What optuna-dashboard opens: the journal of the study in `folder`, or the database at `url`
    with its driver; a password is masked."""
    return str(folder / JOURNAL) if url is None else mask(_with_driver(url))


def _with_driver(url: str) -> str:
    """`url` with the driver of the extra `postgresql`; SQLAlchemy 2.0 would look for psycopg2."""
    parsed = _parsed(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UserError(
            f"--storage is an address like postgresql://USER@HOST/DATABASE, got {mask(url)}"
        ) from error


def retry_until_available(
    call: Callable[[], T],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    is_stopped: Callable[[], bool] = lambda: False,
) -> T:
    """The result of `call`, tried again with growing pauses while the database does not answer.

    `call` must be safe to repeat after it was done in part.

    Raises:
        TemporaryError: the database is still gone after `patience_seconds`, or `is_stopped`.
    """
    # 0.25 s, 0.5 s, ... 8 s: short for a connection that was dropped, longer for a server that is
    # starting, which many workers ask.
    deadline, pause = time.monotonic() + patience_seconds, 0.25
    while True:
        try:
            return call()
        except (StorageInternalError, OperationalError, InterfaceError) as error:
            # SIGTERM raises inside the driver's call, which reports it as an error of its own: to
            # wait for the database now would be to ignore the request to stop.
            if (stop := stop_behind(error)) is not None:
                raise stop from None
            reason = _reason(error)
            if reason is None:
                raise
            if time.monotonic() + pause > deadline or is_stopped():
                raise TemporaryError(
                    f"the study's database does not answer ({reason}); what is done is kept, and "
                    "the same command goes on from there"
                ) from error
            _logger.warning("the study's database does not answer (%s); waiting", reason)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def retried(method: Callable[P, T]) -> Callable[P, T]:
    """`method`, called by `retry_until_available`."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return retry_until_available(lambda: method(*args, **kwargs))

    return call


def stop_behind(error: BaseException) -> BaseException | None:
    """The request to stop that interrupted a library call, if `error` is what the library made of
    it."""
    behind = error.__context__
    while behind is not None and not isinstance(behind, KeyboardInterrupt | TemporaryError):
        behind = behind.__context__
    return behind


def _reason(error: BaseException) -> str | None:
    """Why the database does not answer; None if `error` has another cause."""
    # Optuna wraps the driver's error in one of its own; SQLAlchemy, called directly, does not.
    cause = error if isinstance(error, OperationalError | InterfaceError) else error.__cause__
    if not isinstance(cause, OperationalError | InterfaceError):
        return None
    return mask(str(cause.orig or cause).strip().splitlines()[0])
