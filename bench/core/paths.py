"""Folders of results and of the cache, results that are cached, and paths and files that users
name."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

from bench.core.errors import UnwritableError, UserError
from bench.core.files import exclusive_lock, write_json
from bench.core.parsing import decode_text, parse_json

OUT = Path("out")
"""Studies, runs and reports, below the working folder."""

SINGLE_RUNS = OUT / "train"
"""Runs that belong to no study."""

CACHE_VARIABLE = "BENCH_CACHE"

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("variants/**/*.py", "bench/**/*.py", "sweeps/**/*.toml")

T = TypeVar("T")


def cache_root() -> Path:
    """The absolute path of the cache (corpora, features: files that can be computed again):
    ``$BENCH_CACHE``, else ``~/.cache/deepspeech-bench``.

    Raises:
        UserError: BENCH_CACHE is not set, and the user has no home folder.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return user_path(given, CACHE_VARIABLE).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or user_path("~/.cache", CACHE_VARIABLE)
    return Path(base).absolute() / "deepspeech-bench"


def user_path(given: str, what: str) -> Path:
    """The path that a user wrote, its ``~`` expanded; `what` names the flag or variable.

    Raises:
        UserError: the home that it names is unknown.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{what}: the home folder of {given!r} is unknown (HOME is not set, or no such user is "
            f"there); set {what if what.isupper() else 'HOME'} to a whole path"
        ) from error


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, created if it does not exist.

    Raises:
        UnwritableError: it cannot be created; names the variable.
    """
    folder = cache_root().joinpath(*parts)
    with writing_cache(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Context for writing below `folder` of the cache: write errors name the variable.

    Raises:
        UnwritableError: something could not be written; names the variable.
    """
    try:
        yield
    except (OSError, UnwritableError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(reason, OSError)
        way_out = f"set {CACHE_VARIABLE} to a folder with room that you may write"
        raise UnwritableError(folder, reason, way_out) from reason


@contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """An exclusive lock on `name` among the processes of this machine, waited for without limit.

    Raises:
        UnwritableError: the lock's file cannot be written; names the variable.
    """
    path = cache_folder("locks") / f"{name}.lock"
    with ExitStack() as held:
        with writing_cache(path):
            held.enter_context(exclusive_lock(path, patience_seconds=math.inf))
        yield


def made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder` of the cache. Where it is not there, `fill` fills an empty folder, which then gets
    its name; of several processes one does so while the others wait. An error leaves nothing.

    Raises:
        UnwritableError: the cache cannot be written; names the variable.
    """
    if folder.is_dir():  # before any lock: the cache may be read-only
        return folder
    lock = folder.with_name(f"{folder.name}.lock")
    with writing_cache(folder), exclusive_lock(lock, patience_seconds=math.inf):
        # The process that held the lock before may have made it meanwhile.
        if not folder.is_dir():
            # Beside its later place: a rename works within one file system.
            with TemporaryDirectory(dir=folder.parent) as temporary:
                complete = Path(temporary, "complete")
                complete.mkdir()
                fill(complete)
                complete.rename(folder)
    return folder


def remembered(name: str, compute: Callable[[], T]) -> T:
    """The cached result of `compute`, of JSON's types; computed again if the code, the sweeps or
    torch's version have changed. Without a usable cache it is computed in each call."""
    path = None
    with suppress(UserError, OSError, RuntimeError, ValueError):
        path = cache_root() / "memo" / f"{name}-{_digest()}.json"
        return cast(T, parse_json(path.read_text(encoding="utf-8")))
    value = compute()
    if path is not None:
        with suppress(UserError, OSError):
            write_json(path, value)
    return value


def _digest() -> str:
    """Digest of the project's files and of torch's version."""
    found = sha256(version("torch").encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"\n{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def read_text(path: Path, what: str) -> str:
    """The text of a user's file, also gzipped; `what` is the kind of file for errors, such as
    "transcripts".

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return decode_text(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{what} {path} cannot be read ({error.strerror}); correct that first"
        ) from error
    except ValueError as error:
        raise UserError(f"{what} {path} cannot be read: {error}") from error


def exists(path: Path) -> bool:
    """True if there is something at `path`; False too where no file system could hold such a name,
    for which Path.exists raises an error."""
    try:
        return path.exists()
    except OSError:
        return False
