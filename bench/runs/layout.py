"""The files of a run's folder: their names, their schemas, and how each is read.

    run.json  config.json  environment.json  git.diff        written when the run is opened
    metrics.jsonl  watch.jsonl                               appended to at each log point
    utterances-<split>.jsonl  summary.json                   written whole

A kill may leave an incomplete last line in an appended file, which readers ignore.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from bench.core.errors import UserError
from bench.core.parsing import parse_json

SCHEMA_VERSION = 2
"""Of run.json."""
RUN, CONFIG, ENVIRONMENT, DIFF = "run.json", "config.json", "environment.json", "git.diff"
ORIGINS = "origins.json"
"""What set each value of the config."""
METRICS, WATCH, SUMMARY = "metrics.jsonl", "watch.jsonl", "summary.json"
SCORES = "utterances-test.jsonl"
"""Of the test split; there once a confirm run has been scored."""

Keys = Mapping[str, type | UnionType]
"""The schema of a JSON object as readers check it: required keys, and the types of their values."""

_RUN_KEYS: Keys = {
    "study": str, "system": str, "kind": str, "slot": int, "attempt": int, "seed": int,
    "name": str, "params": dict, "data_digest": str, "uid": str, "started_at": str,
    "opened_at": str, "mlflow_run_id": str | None,
}  # fmt: skip
# One line of metrics.jsonl, of watch.jsonl and of utterances-<split>.jsonl.
METRICS_SCHEMA: Keys = {
    "key": str, "value": int | float, "step": int, "epoch": int | float, "timestamp_ms": int
}  # fmt: skip
WATCH_SCHEMA: Keys = {
    "id": str, "step": int, "epoch": int | float, "ref": str, "hyp": str
}  # fmt: skip
SCORES_SCHEMA: Keys = {
    **dict.fromkeys(("id", "speaker", "ref", "hyp"), str),
    "seconds": int | float,
    **dict.fromkeys(("substitutions", "deletions", "insertions", "hits", "num_ref_words"), int),
    **dict.fromkeys(("char_substitutions", "char_deletions", "char_insertions"), int),
    "num_ref_chars": int,
}


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json holds.

    Raises:
        UserError: it was written by another version, is damaged, or there is none.
    """
    run = read_json(folder / RUN)
    if run is None:
        raise UserError(f"{folder} holds no run, it has no {RUN}; name another folder")
    if not isinstance(run.get("schema_version"), int):
        raise damaged(folder / RUN, "schema_version is no number")
    if run["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"records of version {SCHEMA_VERSION} can be read, {folder / RUN} has version "
            f"{run['schema_version']}; use the program that wrote it, or begin the study anew"
        )
    check_keys(folder / RUN, run, _RUN_KEYS)
    return run


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None if there is no such file.

    Raises:
        UserError: it is damaged.
    """
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(value, dict):
        raise damaged(path, "it holds no JSON object")
    return value


def check_keys(path: Path, row: Mapping[str, Any], keys: Keys) -> None:
    """Return if `row`, the content of `path`, has `keys` with values of these types.

    Raises:
        UserError: it has not.
    """
    for key, kind in keys.items():
        if key not in row or not isinstance(row[key], kind):
            raise damaged(path, f"{key} is {row.get(key)!r}")


def damaged(path: Path, reason: str) -> UserError:
    """The error that `path` cannot be used for `reason`."""
    return UserError(
        f"{path} is damaged ({reason}); move the run's folder away, and the same command makes it "
        "again"
    )


def read_lines(path: Path, keys: Keys) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, none if it is missing; a torn last line is left out.

    Each must have `keys` with values of these types: METRICS_SCHEMA, WATCH_SCHEMA or SCORES_SCHEMA.

    Raises:
        UserError: a whole line that is no such object.
    """
    if not path.exists():
        return
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = parse_json(line)
            for key, kind in keys.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise ValueError(f"it has no {key}")
            yield row
        except ValueError as error:
            raise UserError(
                f"each line of {path} is a JSON object, line {number} is not ({error}); "
                "delete that line"
            ) from error
