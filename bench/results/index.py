"""The index page: one row for each study, and the saved comparisons (files of ``bench.compare
--save`` in one folder), those that are comparable in one group."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from bench.core.config import digest, from_dict, to_dict
from bench.core.errors import UnwritableError, UserError
from bench.core.files import write_json
from bench.core.paths import OUT, remembered
from bench.core.seeding import numpy_generator
from bench.results.comparability import RULES, STAMP, differing_facts
from bench.results.comparison import compare
from bench.results.looks import judged
from bench.results.report_input import REPORT_FILE
from bench.results.saved_comparison import read_saved_comparison
from bench.results.scored import (
    ScoredSystem,
    aligned,
    claims_among,
    margin_among,
    planned_among,
)
from bench.runs import read_study
from bench.runs.layout import METRICS, RUN, SCORES, SUMMARY, read_json
from bench.runs.state import ENDS
from bench.study.definition import FILE, StudyDefinition, load, studies_newest_first
from bench.study.rounds import FOLDER as LOOKS
from bench.study.rounds import confirm_seeds, read_looks
from reports.index import SavedGroup, SavedRow, StudyRow, build_index

INDEX = "index.html"
CACHED_ROW = "index-row.json"
COMPARISONS = OUT / "comparisons"
"""The folder of the listed files."""

_Facts = Mapping[str, Mapping[str, str]]
"""Of each system, by its name, as `differing_facts` takes them."""


@dataclass(frozen=True, kw_only=True)
class _CachedRow:
    """A row, and the digest of code and records that it was made from."""

    key: str
    row: StudyRow


def write_index() -> Path:
    """Write ``out/index.html``: every study below ``out/``, by name, and the saved comparisons in
    ``out/comparisons``."""
    rows = [_row(folder) for folder in sorted(studies_newest_first())]
    return build_index(rows, OUT / INDEX, saved_groups())


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
        corpus=definition.corpus.title,
        budget=definition.budget.name,
        state=_state(definition, tables.runs, sum(confirm_seeds(definition, looks).values())),
        changed=_last_change(tables.runs),
        verdict=compare(definition, tables, looks).verdict,
        report="",
        compared=tuple(dict.fromkeys(system.variant for system in definition.systems.values())),
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


@dataclass(frozen=True)
class _Saved:
    row: SavedRow
    facts: _Facts


def saved_groups(folder: Path = COMPARISONS) -> tuple[SavedGroup, ...]:
    """The comparisons of ``folder/*.jsonl``, grouped by the conditions that must be the same for
    systems to be compared. Damaged files are rows with the reason, in a group of their own."""
    groups: list[list[_Saved]] = []
    broken: list[SavedRow] = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            saved = _read_saved(path)
        except UserError as error:
            broken.append(SavedRow(file=path.name, saved="", systems="", verdicts=str(error)))
            continue
        # The first whose systems it differs from in nothing.
        fitting = (group for group in groups if not _differing([*group, saved]))
        group = next(fitting, None)
        if group is None:
            groups.append([saved])
        else:
            group.append(saved)
    found = [_group(group) for group in groups]
    if broken:
        found.append(SavedGroup(conditions="Files that cannot be read", rows=tuple(broken)))
    return tuple(found)


def _read_saved(path: Path) -> _Saved:
    systems = read_saved_comparison(path)
    key = sha256(path.read_bytes()).hexdigest()[:16]
    described = remembered(f"comparison-{key}", lambda: _described(systems))
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(" ", "minutes")
    names = tuple(system.name for system in systems)
    written = written.partition("+")[0]
    row = SavedRow(file=path.name, saved=written, compared=names, **described)
    return _Saved(row, {system.name: system.facts for system in systems})


def _described(systems: list[ScoredSystem]) -> dict[str, str]:
    """WERs and verdicts in words: on its claims, or on all pairs if nothing was claimed."""
    runs, claims = aligned(systems, common=False), claims_among(systems)
    rng, margin = numpy_generator(0, "bootstrap"), margin_among(systems)
    planned, _ = planned_among(systems, margin)
    rates, compared = judged(runs, rng, claims, margin, planned)
    scored, pairs = rates.to_dict("records"), compared.to_dict("records")
    claimed = [pair for pair in pairs if pair["claim"]]
    return {
        "systems": ", ".join(f"{row['name']} {100 * row['wer']:.1f} %" for row in scored),
        "verdicts": "; ".join(
            f"{pair['a']}, {pair['b']}: {pair['verdict']}" for pair in claimed or pairs
        ),
    }


def _differing(saved: Iterable[_Saved]) -> dict[str, Mapping[str, str]]:
    """The facts in which any two systems of these comparisons are known to differ."""
    # Systems of two files may have one name, so the file's place is part of the key.
    every = {
        f"{place}.{name}": facts
        for place, one in enumerate(saved)
        for name, facts in one.facts.items()
    }
    return differing_facts(every)


def _group(group: list[_Saved]) -> SavedGroup:
    differing = _differing(group)
    common: dict[str, str] = {}
    for one in group:
        for facts in one.facts.values():
            common |= {key: value for key, value in facts.items() if key not in differing}
    shown = [
        f"{rule.title}: {', '.join(_values(rule.key, common))}"
        for rule in RULES
        if _values(rule.key, common)
    ]
    stamp = [f"{STAMP}: systems differ in {', '.join(differing)}"] if differing else []
    return SavedGroup(conditions="; ".join((*stamp, *shown)), rows=tuple(one.row for one in group))


def _values(rule: str, facts: Mapping[str, str]) -> list[str]:
    """The values of the facts of `rule`, those with parts as ``num_trials 4``."""
    found = []
    for key, value in sorted(facts.items()):
        name, _, part = key.partition(".")
        if name == rule:
            found.append(f"{part} {value}" if part else value)
    return found
