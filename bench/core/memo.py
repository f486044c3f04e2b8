"""Results that depend on nothing but the project's own files, kept on disk until those change."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.parsing import parse_json
from bench.core.paths import cache_root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("variants/**/*.py", "bench/**/*.py", "sweeps/**/*.toml")

T = TypeVar("T")


def remembered(name: str, compute: Callable[[], T]) -> T:
    """What `compute` returns, of JSON's types; computed again once the code, the sweeps or torch's
    version differ. A cache that cannot be used costs time, nothing else."""
    path = None
    with suppress(UserError, OSError, RuntimeError, ValueError):
        path = cache_root() / "memo" / f"{name}-{_digest()}.json"
        kept: T = parse_json(path.read_text(encoding="utf-8"))
        return kept
    value = compute()
    if path is not None:
        with suppress(UserError, OSError):
            write_json(path, value)
    return value


def _digest() -> str:
    """Of the project's files, and of torch, which builds the networks."""
    found = sha256(version("torch").encode())
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"\n{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]
