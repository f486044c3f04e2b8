"""What the list of studies says of each."""

from pathlib import Path
from urllib.parse import quote

import pandas as pd

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.results.comparison import compare
from bench.results.report_input import REPORT_FILE
from bench.study.definition import StudyDefinition, load, studies_newest_first
from bench.tracking import read_study
from reports import StudyRow, build_index

INDEX = "index.html"


def write_index() -> Path:
    """Write ``out/index.html``: every study below ``out/``, by name."""
    return build_index([_row(folder) for folder in sorted(studies_newest_first())], OUT / INDEX)


def _row(folder: Path) -> StudyRow:
    report = folder / REPORT_FILE
    link = quote(report.relative_to(OUT).as_posix()) if report.exists() else ""
    try:
        definition = load(folder)
        tables = read_study(folder)
        verdict = compare(definition, tables).verdict
    except UserError as error:
        return StudyRow(
            name=folder.name, asked="", corpus="", budget="", state="cannot be read",
            changed="", verdict=str(error), report=link,
        )  # fmt: skip
    question = definition.question
    return StudyRow(
        name=definition.name,
        asked=question.summary if question else ", ".join(definition.systems),
        corpus=definition.corpus.name,
        budget=definition.budget.name,
        state=_state(definition, tables.runs),
        changed=_last_change(tables.runs),
        verdict=verdict,
        report=link,
    )


def _state(definition: StudyDefinition, runs: pd.DataFrame) -> str:
    budget, num_systems = definition.budget, len(definition.systems)
    trials = (runs["kind"] == "trial") & ~runs["state"].isin(["running", "killed"])
    scored = (runs["kind"] == "confirm") & runs["test_wer"].notna()
    return (
        f"{trials.sum()} of {budget.num_trials * num_systems} trials ended, "
        f"{scored.sum()} of {budget.num_seeds * num_systems} confirm runs scored"
    )


def _last_change(runs: pd.DataFrame) -> str:
    """To the minute, in UTC."""
    latest = max([*runs["started_at"], *runs["ended_at"]], default="")
    return latest[: len("2026-11-23T09:38")].replace("T", " ")
