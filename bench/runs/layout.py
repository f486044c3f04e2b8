"""The files of a run's folder: their names, their schemas, and how each is read.

    run.json  config.json  environment.json  git.diff        written when the run is opened
    variant.py  variant.json                                 then too, of a variant from outside
    units.json                                               before training, of pieces of words
    metrics.jsonl  watch.jsonl                               appended to at each log point
    utterances-<split>.jsonl  summary.json                   written whole

A kill may leave an incomplete last line in an appended file, which readers ignore. A file's schema
is the TypedDict of its object or of its line: readers check what they read against it.
"""

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import TypedDict, TypeVar

from bench.core.errors import UserError
from bench.core.parsing import parse_json
from bench.training.outside import VARIANT_RECORD

SCHEMA_VERSION = 4
"""Of run.json."""
RUN, CONFIG, ENVIRONMENT, DIFF = "run.json", "config.json", "environment.json", "git.diff"
VARIANT_FILES = (f"{VARIANT_RECORD}.py", f"{VARIANT_RECORD}.json")
"""The source of a variant from outside, and where it came from."""
ORIGINS = "origins.json"
"""What set each value of the config."""
OPENED = "test-opened.txt"
"""A line each time that the test split was about to be scored."""
UNITS = "units.json"
"""The pieces of words that the network outputs, and their digest; of letters there is none."""
PATHS = "paths.json"
"""Which implementation computed each operation, see variants.ops.paths; written after training."""
METRICS, WATCH, SUMMARY = "metrics.jsonl", "watch.jsonl", "summary.json"
BEST, LAST = (Path("checkpoints") / name for name in ("best.pt", "last.pt"))
"""As bench.training.loop writes them."""
SCORES = "utterances-test.jsonl"
"""Of the test split; there once a confirm run has been scored."""

Row = TypeVar("Row")
"""A TypedDict."""


class RunFile(TypedDict):
    """run.json."""

    schema_version: int
    name: str
    study: str
    system: str
    kind: str
    slot: int
    attempt: int
    seed: int
    params: dict[str, object]
    data_digest: str
    round: int
    num_ranks: int
    """Processes that divided each batch."""
    uid: str
    started_at: str
    opened_at: str
    host: str
    mlflow_run_id: str | None


class Summary(TypedDict):
    """summary.json."""

    state: str
    metrics: dict[str, float]
    error: dict[str, str] | None
    ended_at: str


class MetricPoint(TypedDict):
    """A line of metrics.jsonl."""

    key: str
    value: float
    step: int
    epoch: float
    timestamp_ms: int


class WatchLine(TypedDict):
    """A line of watch.jsonl."""

    id: str
    step: int
    epoch: float
    ref: str
    hyp: str


class ScoreLine(TypedDict):
    """A line of utterances-<split>.jsonl."""

    id: str
    speaker: str
    ref: str
    hyp: str
    seconds: float
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    num_ref_words: int
    char_substitutions: int
    char_deletions: int
    char_insertions: int
    num_ref_chars: int


def read_run(folder: Path) -> RunFile:
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
    return checked(folder / RUN, run, RunFile)


def read_json(path: Path) -> dict[str, object] | None:
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


def checked(path: Path, value: Mapping[str, object], row_type: type[Row]) -> Row:
    """`value`, the content of `path`, as a `row_type`.

    Raises:
        UserError: a key is missing, or its value is of another type.
    """
    for key, kinds in _schema(row_type).items():
        if key not in value or not isinstance(value[key], kinds):
            raise damaged(path, f"{key} is {value.get(key)!r}")
    return typing.cast(Row, value)


def damaged(path: Path, reason: str) -> UserError:
    """The error that `path` cannot be used for `reason`."""
    return UserError(
        f"{path} is damaged ({reason}); move the run's folder away, and the same command makes it "
        "again"
    )


def read_lines(path: Path, row_type: type[Row]) -> Iterator[Row]:
    """The objects of a JSON-lines file, none if it is missing; an incomplete last line is left out.

    Raises:
        UserError: a whole line that is no `row_type`.
    """
    if not path.exists():
        return
    schema = _schema(row_type)
    whole, _, _incomplete = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = parse_json(line)
            for key, kinds in schema.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kinds):
                    raise ValueError(f"it has no {key}")
            yield typing.cast(Row, row)
        except ValueError as error:
            raise UserError(
                f"each line of {path} is a JSON object, line {number} is not ({error}); "
                "delete that line"
            ) from error


def _schema(row_type: type) -> Mapping[str, tuple[type, ...]]:
    """The keys of a TypedDict, each with the types that its value may have in JSON."""
    return {key: _json_types(hint) for key, hint in typing.get_type_hints(row_type).items()}


def _json_types(hint: object) -> tuple[type, ...]:
    if isinstance(hint, UnionType):
        return tuple(kind for option in typing.get_args(hint) for kind in _json_types(option))
    if hint is float:
        return (int, float)  # JSON writes 2.0 as it likes
    kind = typing.get_origin(hint) or hint
    assert isinstance(kind, type)
    return (kind,)
