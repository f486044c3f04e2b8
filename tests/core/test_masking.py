"""Passwords are masked wherever text leaves the program."""

import logging
import sys

import pytest

from bench.core import cli
from bench.core.errors import UserError
from bench.core.masking import MaskingFormatter, mask

ADDRESS = "postgresql://ann:hunter2@host/db"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=db password=hunter2 user=ann", "host=db password=*** user=ann"),
        ("dsn \"dbname=x passwd = 'hun ter2'\"", "dsn \"dbname=x passwd = ***\""),
        ("two: a://b:c@d and e://f:g@h", "two: a://b:***@d and e://f:***@h"),
        ("+export PGPASSWORD=hunter2 X=1", "+export PGPASSWORD=*** X=1"),
        ("+  POSTGRES_PASSWORD: 'hun ter2'", "+  POSTGRES_PASSWORD: ***"),
        ("MLFLOW_TRACKING_TOKEN=ey.x", "MLFLOW_TRACKING_TOKEN=***"),
        ("AWS_SECRET_ACCESS_KEY = a/b+c", "AWS_SECRET_ACCESS_KEY = ***"),
        ("password: str, token=uuid4(), MAX_TOKENS=3", "password: str, token=uuid4(), MAX_TOKENS=3"),
        ("${PGPASSWORD:?write it}", "${PGPASSWORD:?write it}"),
        ("a ratio of 3:2 @ 5 and a://host:80/path", "a ratio of 3:2 @ 5 and a://host:80/path"),
    ],
)  # fmt: skip
def test_text_is_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_log_lines_and_their_tracebacks_are_masked() -> None:
    try:
        raise ValueError(f"bad {ADDRESS}")
    except ValueError:
        record = logging.LogRecord("n", 30, "f", 1, "at %s", (ADDRESS,), sys.exc_info())
    line = MaskingFormatter().format(record)
    assert "hunter2" not in line
    assert line.startswith("at postgresql://ann:***@host/db\nTraceback")


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (UserError(f"cannot open {ADDRESS}"), 2, "error: cannot open postgresql://ann:***@host/db"),
        (RuntimeError(ADDRESS), 1, "RuntimeError: postgresql://ann:***@host/db"),
        (OSError(28, "No space left on device", "r.html"), 2, "error: r.html cannot be written (No"),
        (OSError(5, "Input/output error"), 1, "Traceback"),
    ],
)  # fmt: skip
def test_a_command_ends_without_a_password(
    error: Exception,
    status: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["verb"])
    monkeypatch.setattr(cli, "set_up_logging", lambda _: None)
    with pytest.raises(SystemExit) as end:
        cli.run(cli.parser("verb", "Does."), fail)
    said = capsys.readouterr().err
    assert end.value.code == status
    assert shown in said
    assert "hunter2" not in said
