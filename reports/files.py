"""Atomic writing of pages."""

import os
from pathlib import Path


def write_page(page: str, path: Path) -> Path:
    """Write `page` to `path` atomically, folders included.

    Raises:
        OSError: with the page's own name, not that of the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a concurrent reader nor an interrupt may leave half a page.
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written.write_text(page, encoding="utf-8", newline="\n")
        written.replace(path)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path
