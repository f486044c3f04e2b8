"""How pages reach the disk."""

import os
from pathlib import Path


def write_page(page: str, path: Path) -> Path:
    """Write `page` to `path`, folders included, whole or not at all.

    Raises:
        OSError: with the page's own name, not that of the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader, or a Ctrl-C, in the middle of writing must not find half a page.
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written.write_text(page, encoding="utf-8", newline="\n")
        written.replace(path)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path
