"""The address of the tracking server, how it is shown, and the environment that MLflow reads.

Does not import mlflow, which reads DEFAULT_ENVIRONMENT when it is imported.
"""

import os
import re
from pathlib import Path

from bench.core.errors import UserError
from bench.core.masking import mask

VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT = "sqlite:///mlflow.db"
_REMOTE_SCHEMES = ("http", "https", "postgresql", "mysql", "mssql", "databricks")
_SCHEMES = (*_REMOTE_SCHEMES, "sqlite", "file", "databricks-uc", "uc")
_HOST_AND_PORT = re.compile(r"[\w.-]{2,}:\d+(/.*)?")
_SERVER = re.compile(r"([^@\s]+@)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/\S*)?")

DEFAULT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its log goes where ours goes, at the level of ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "GIT_PYTHON_REFRESH": "quiet",  # no warning where git is missing
    # Given up within a minute (mlflow: 7 tries of 120 s); the thread comes back later.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def set_mlflow_defaults() -> None:
    """Set what the user has not set of DEFAULT_ENVIRONMENT, for this process and its children.

    Called by what sends to MLflow, before mlflow is imported.
    """
    for name, value in DEFAULT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def tracking_uri() -> str:
    """``$MLFLOW_TRACKING_URI``, else a SQLite file in the working folder. May hold a password.

    Raises:
        UserError: it cannot be the address of a store: a host without a scheme, an unknown scheme,
            a server's address without a host, a space around it; or this user has no home, which
            MLflow asks for when it is imported.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise UserError(
            "a user without a passwd entry needs HOME, which is not set; set it to a folder, "
            "as in HOME=/tmp"
        ) from error
    uri = os.environ.get(VARIABLE) or DEFAULT
    _check(uri)
    return uri


def _check(uri: str) -> None:
    scheme, separator, rest = uri.partition("://")
    if not separator and _HOST_AND_PORT.fullmatch(uri):
        way_out = f"write http://{uri}"
    elif not uri.isprintable() or uri != uri.strip():
        way_out = "remove what cannot be seen in it"
    elif scheme in ("http", "https") and not _SERVER.fullmatch(rest):
        way_out = f"write {scheme}://HOST:PORT"
    elif "://" in uri and scheme.split("+")[0] not in _SCHEMES:
        way_out = f"begin it with one of {', '.join(_SCHEMES)}"
    else:
        return
    raise UserError(
        f"{VARIABLE} is the address of a server or a store, got {display_uri(uri)!r}; {way_out}"
    )


def display_uri(uri: str | None = None) -> str:
    """`uri` (default: the one in use) as it may be shown, logged and stored."""
    return mask(uri or tracking_uri())


def first_line(error: Exception) -> str:
    """What an error says, on one line and without passwords."""
    return mask(next(iter(str(error).splitlines()), "") or type(error).__name__)


def reason_of_outage(error: BaseException) -> str:
    """Why a server does not answer, in a few words: the first of the chained causes."""
    first: BaseException = error
    while (behind := first.__cause__ or first.__context__) is not None:
        first = behind
    return mask(getattr(first, "strerror", None) or str(first) or type(first).__name__)


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the SQLite file that `uri` names; None for any other store."""
    scheme, separator, path = uri.partition(":///")
    if not separator or scheme.split("+")[0] != "sqlite":
        return None
    return Path.cwd() / path.partition("?")[0]


def is_remote(uri: str) -> bool:
    """Whether the store is reached over a network, so that it may be gone now and come back."""
    scheme = uri.partition("://")[0].split("+")[0]
    return scheme in _REMOTE_SCHEMES
