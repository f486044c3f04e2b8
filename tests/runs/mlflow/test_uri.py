"""Addresses are shown without their passwords."""

import pwd
import re
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.masking import mask
from bench.runs.mlflow.uri import (
    DEFAULT,
    display_uri,
    first_line,
    is_remote,
    reason_of_outage,
    sqlite_file,
    tracking_uri,
)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://ann:hunter2@host/x", "https://ann:***@host/x"),
        ("postgresql+psycopg://ann:hun/ter@2@host:5432/db", "postgresql+psycopg://ann:***@host:5432/db"),
        ("postgresql://host/db?user=a&password=hunter2&x=1", "postgresql://host/db?user=a&password=***&x=1"),
        ("https://host/?api_key=hunter2", "https://host/?api_key=***"),
    ],
)  # fmt: skip
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert display_uri(uri) == shown
    assert mask(f"API request to {uri} failed") == f"API request to {shown} failed"


def test_errors_become_one_line_without_passwords() -> None:
    error = ConnectionError("http://ann:hunter2@host is gone\nTraceback")
    assert first_line(error) == "http://ann:***@host is gone"
    assert first_line(ValueError()) == "ValueError"


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri() == DEFAULT
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:b@host")
    assert (tracking_uri(), display_uri()) == ("http://a:b@host", "http://a:***@host")


@pytest.mark.parametrize(
    ("uri", "way_out"),
    [
        ("localhost:5000", "write http://localhost:5000"),
        ("tracking.example.com:80/x", "write http://tracking.example.com:80/x"),
        ("http://", "write http://HOST:PORT"),
        ("http:///x", "write http://HOST:PORT"),
        ("http://host:port", "write http://HOST:PORT"),
        (" http://host", "remove what cannot be seen"),
        ("http://host\n", "remove what cannot be seen"),
        ("htp://host", "begin it with one of http, https"),
        ("http://ann:hunter2@", "got 'http://ann:***@'"),
    ],
)
def test_what_is_no_address(monkeypatch: pytest.MonkeyPatch, uri: str, way_out: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=re.escape(way_out)):
        tracking_uri()


@pytest.mark.parametrize(
    "uri",
    [
        "http://host", "https://a:b@host:5000/path", "http://[::1]:5000", "sqlite:///m.db", "sqlite:////a b/m.db",
        "postgresql+psycopg://u@h/d", "databricks", "databricks://profile", "./mlruns", "/mlruns", "file:/mlruns", "C:\\mlruns",
    ],
)  # fmt: skip
def test_addresses(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri


def test_a_user_without_a_home_is_told_before_mlflow_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_entry(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(UserError, match="needs HOME, which is not set; set it to a folder"):
        tracking_uri()
    monkeypatch.setenv("HOME", "/")
    assert tracking_uri() == DEFAULT


def test_of_an_outage_the_first_cause_is_told() -> None:
    outer = RuntimeError("API request to http://x failed with exception Max retries exceeded")
    outer.__cause__ = OSError(111, "Connection refused")
    assert reason_of_outage(outer) == "Connection refused"
    assert reason_of_outage(TimeoutError()) == "TimeoutError"


def test_kinds_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///mlflow.db") == tmp_path / "mlflow.db"
    assert sqlite_file("sqlite:////data/m.db?timeout=3") == Path("/data/m.db")
    assert sqlite_file("postgresql://host/db") is None
    remote = ["http://h", "postgresql+psycopg2://h/d"]
    assert [is_remote(uri) for uri in [*remote, "sqlite:///m.db", "./mlruns"]] == [
        True, True, False, False
    ]  # fmt: skip
