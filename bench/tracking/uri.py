"""Which tracking server is meant, and how its address is shown."""

import os
from pathlib import Path

from bench.core.masking import mask

VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """``$MLFLOW_TRACKING_URI``, else a SQLite file in the working folder. May hold a password."""
    return os.environ.get(VARIABLE) or DEFAULT


def display_uri(uri: str | None = None) -> str:
    """`uri` (default: the one in use) as it may be shown, logged and stored."""
    return mask(uri or tracking_uri())


def first_line(error: Exception) -> str:
    """What an error says, on one line and without passwords."""
    return mask(next(iter(str(error).splitlines()), "") or type(error).__name__)


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the SQLite file that `uri` names; None for any other store."""
    scheme, separator, path = uri.partition(":///")
    if not separator or scheme.split("+")[0] != "sqlite":
        return None
    return Path.cwd() / path.partition("?")[0]


def is_remote(uri: str) -> bool:
    """Whether the store is reached over a network, so that it may be gone now and come back."""
    scheme = uri.partition("://")[0].split("+")[0]
    return scheme in ("http", "https", "postgresql", "mysql", "mssql", "databricks")
