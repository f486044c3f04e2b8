"""Where things are kept on disk."""

import json
import os
from pathlib import Path
from typing import Any

OUT = Path("out")
"""Studies, runs and reports, below the working folder."""

CACHE_VARIABLE = "BENCH_CACHE"


def cache_root() -> Path:
    """The folder of what can be made again (corpora, features): ``$BENCH_CACHE``, else
    ``~/.cache/deepspeech-bench``."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepspeech-bench"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON so that a reader sees the old file or the new one, never a half."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically: a temporary file beside `path`, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
