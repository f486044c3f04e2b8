"""Folders and archives of corpora."""

import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import DISK_IS_FULL, UnwritableError, UserError, first_line
from bench.core.paths import cache_folder, made_once

MAX_UNPACKED_BYTES = 2**32
"""Limit on the unpacked size of an archive: a few malicious kB could otherwise fill the disk."""

_NUM_SHOWN = 12


def entries(folder: Path) -> list[Path]:
    """Files and folders in `folder` in the order of their names, without hidden ones.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"folder {folder} cannot be read ({error.strerror}); correct that first"
        ) from error


def only_folder(folder: Path) -> tuple[Path, ...]:
    """The folder in `folder` if there is exactly one, as is usual in an unpacked archive; else
    ()."""
    folders = [entry for entry in entries(folder) if entry.is_dir()]
    return tuple(folders) if len(folders) == 1 else ()


def holds(folder: Path) -> str:
    """The content of `folder`, for the error message of a reader that finds no corpus in it."""
    names = [entry.name + "/" * entry.is_dir() for entry in entries(folder)]
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return f"{folder} holds {', '.join(names[:_NUM_SHOWN]) or 'nothing'}{more}"


@contextmanager
def read_by_library(fault: str, way_out: str) -> Iterator[None]:
    """Within the block a library reads a user's files: whatever is wrong with them, it says so by
    exceptions of many classes.

    Raises:
        UserError: `fault`, what the library said, and `way_out`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{fault} ({first_line(error)[:200]}); {way_out}") from error


def unpacked(archives: Sequence[Path]) -> Path:
    """The folder below the cache with the content of the tar `archives`, compressed or not; they
    are unpacked once for the same bytes.

    Raises:
        UserError: no archive, damaged, or with more in it than files and folders of its own.
    """
    hashed = hashlib.sha256()
    for archive in archives:
        with archive.open("rb") as handle:
            hashed.update(hashlib.file_digest(handle, "sha256").digest())

    def extract(folder: Path) -> None:
        for archive in archives:
            _extract(archive, folder)

    return made_once(cache_folder("unpacked") / hashed.hexdigest()[:16], extract)


def _extract(archive: Path, folder: Path) -> None:
    num_bytes = 0

    def sound(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        nonlocal num_bytes
        # By the headers, before anything is written: no member holds more than its header says.
        num_bytes += member.size
        if num_bytes > MAX_UNPACKED_BYTES:
            raise tarfile.FilterError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        if not (member.isfile() or member.isdir()):
            raise tarfile.FilterError(f"{member.name!r} is no file and no folder")
        return tarfile.data_filter(member, path)

    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=sound)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            raise UnwritableError(folder, error) from error
        reason = first_line(error).rstrip(":")
        raise UserError(
            f"archive {archive} cannot be unpacked ({reason}); fetch it again"
        ) from error
