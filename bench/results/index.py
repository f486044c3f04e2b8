"""The index page: one row for each study."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from bench.core.config import digest, from_dict, to_dict
from bench.core.errors import UnwritableError, UserError
from bench.core.files import write_json
from bench.core.paths import OUT
from bench.results.comparison import compare
from bench.results.kept import kept_groups
from bench.results.report_input import REPORT_FILE
from bench.runs import read_study
from bench.runs.layout import METRICS, RUN, SCORES, SUMMARY, read_json
from bench.runs.state import ENDS
from bench.study.definition import FILE, StudyDefinition, load, studies_newest_first
from bench.study.rounds import FOLDER as LOOKS
from bench.study.rounds import confirm_seeds, read_looks
from reports import StudyRow, build_index

INDEX = "index.html"
CACHED_ROW = "index-row.json"


@dataclass(frozen=True, kw_only=True)
class _CachedRow:
    """A row, and the digest of code and records that it was made from."""

    key: str
    row: StudyRow


def write_index() -> Path:
    """Write ``out/index.html``: every study below ``out/``, by name, and the comparisons kept in
    ``out/comparisons``."""
    rows = [_row(folder) for folder in sorted(studies_newest_first())]
    return build_index(rows, OUT / INDEX, kept_groups())


def _row(folder: Path) -> StudyRow:
    report = folder / REPORT_FILE
    link = quote(report.relative_to(OUT).as_posix()) if report.exists() else ""
    try:
        return replace(_cached_or_read(folder), report=link)
    except UserError as error:
        return StudyRow(
            name=folder.name, asked="", corpus="", budget="", state="cannot be read",
            changed="", verdict=str(error), report=link,
        )  # fmt: skip


def _cached_or_read(folder: Path) -> StudyRow:
    """The row of the study in `folder` without a link. It is cached beside the records, since a
    comparison takes long, and valid until the records or the code change."""
    key = digest({"code": _code_digest(), "records": _records_digest(folder)})
    try:
        cached = from_dict(_CachedRow, read_json(folder / CACHED_ROW) or {})
        if cached.key == key:
            return cached.row
    except (UserError, ValueError):
        pass  # no such file, or a damaged one
    row = _read(folder)
    with suppress(UnwritableError):  # the study of another user
        write_json(folder / CACHED_ROW, to_dict(_CachedRow(key=key, row=row)))
    return row


@cache
def _code_digest() -> str:
    """Digest of every module that a row could depend on."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(
        p for part in ("bench", "reports", "variants") for p in root.glob(f"{part}/**/*.py")
    )
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _records_digest(folder: Path) -> str:
    """Digest of names, sizes and times of the study's definition and of its runs' records."""
    names = (RUN, SUMMARY, METRICS, SCORES)
    looks = folder.glob(f"{LOOKS}/*.json")
    files = [folder / FILE, *looks, *(p for name in names for p in folder.glob(f"runs/*/*/{name}"))]
    stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in sorted(files)]
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


def _read(folder: Path) -> StudyRow:
    definition = load(folder)
    tables, looks = read_study(folder), read_looks(folder)
    question = definition.question
    return StudyRow(
        name=definition.name,
        asked=question.summary if question else ", ".join(definition.systems),
        corpus=definition.corpus.name,
        budget=definition.budget.name,
        state=_state(definition, tables.runs, sum(confirm_seeds(definition, looks).values())),
        changed=_last_change(tables.runs),
        verdict=compare(definition, tables, looks).verdict,
        report="",
    )


def _state(definition: StudyDefinition, runs: pd.DataFrame, num_confirms: int) -> str:
    budget, num_systems = definition.budget, len(definition.systems)
    trials = (runs["kind"] == "trial") & runs["state"].isin(ENDS)
    scored = (runs["kind"] == "confirm") & runs["test_wer"].notna()
    return (
        f"{trials.sum()} of {budget.num_trials * num_systems} trials ended, "
        f"{scored.sum()} of {num_confirms} confirm runs scored"
    )


def _last_change(runs: pd.DataFrame) -> str:
    """The time of the last start or end of a run, to the minute, in UTC."""
    latest = max([*runs["started_at"], *runs["ended_at"]], default="")
    return latest[: len("2026-11-23T09:38")].replace("T", " ")
