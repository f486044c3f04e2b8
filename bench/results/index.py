"""What the list of studies says of each."""

from pathlib import Path
from urllib.parse import quote

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.results.comparison import compare
from bench.results.report_input import REPORT_FILE
from bench.study.definition import load, studies_newest_first
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
            verdict=str(error), report=link,
        )  # fmt: skip
    runs = tables.runs
    scored = int(((runs["kind"] == "confirm") & runs["test_wer"].notna()).sum())
    planned = definition.budget.num_seeds * len(definition.systems)
    question = definition.question
    return StudyRow(
        name=definition.name,
        asked=question.summary if question else ", ".join(definition.systems),
        corpus=definition.corpus.name,
        budget=definition.budget.name,
        state=f"{scored} of {planned} confirm runs scored",
        verdict=verdict,
        report=link,
    )
