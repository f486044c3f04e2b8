"""A disk cache of results that depend only on the project's own files."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, cast

from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.parsing import parse_json
from bench.core.paths import cache_root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("variants/**/*.py", "bench/**/*.py", "sweeps/**/*.toml")

T = TypeVar("T")


def remembered(name: str, compute: Callable[[], T]) -> T:
    """The result of `compute`, of JSON's types; computed again if the code, the sweeps or torch's
    version have changed. Without a usable cache it is computed in each call."""
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
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"\n{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]
