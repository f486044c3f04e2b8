"""What it takes to do it again: command, code, versions, budget, spaces; tables to take along."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.format import duration, setting
from reports.input import ReportInput
from reports.markup import render

TITLE = "Redo"

DOWNLOADS = ("variants", "pairs", "runs", "curves", "utterances", "watch")
MAX_DOWNLOAD_BYTES = 300_000
"""A larger table is not embedded; the run folders and MLflow hold it."""


@dataclass(frozen=True)
class Download:
    """A table as a CSV file; no `uri` if it is too large to be embedded."""

    name: str
    num_rows: int
    uri: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows: facts in named groups, as (name, value)."""

    command: str
    browse: str
    """How to look at the runs in MLflow."""
    facts: Mapping[str, tuple[tuple[str, str], ...]]
    spaces: Mapping[str, tuple[tuple[str, str], ...]]
    """For each variant its searched keys with their ranges."""
    downloads: tuple[Download, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """Provenance as text, tables as CSV."""
    budget = tuple((key, _budget(key, value)) for key, value in report_input.budget.items())
    facts = {"Budget": budget, **_environment(report_input.environment)}
    return Numbers(
        command=report_input.command,
        browse=_browse(report_input.tracking_uri),
        facts={group: rows for group, rows in facts.items() if rows},
        spaces={
            variant: tuple((key, range_text(dimension)) for key, dimension in space.items())
            for variant, space in report_input.spaces.items()
        },
        downloads=tuple(_download(name, getattr(report_input, name)) for name in DOWNLOADS),
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/redo.html", numbers=numbers)


def range_text(dimension: Mapping[str, Any]) -> str:
    """A searched key in words: "0.0005 to 0.008, log", or its choices."""
    if dimension.get("choices"):
        return "one of " + ", ".join(setting(choice) for choice in dimension["choices"])
    shown = f"{setting(dimension['low'])} to {setting(dimension['high'])}"
    return shown + (", log" if dimension.get("log") else "")


def _budget(key: str, value: Any) -> str:
    return duration(value) if key.endswith("_seconds") else setting(value)


def _environment(facts: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The facts by their prefix; those without one are about the machine."""
    titles = {"git": "Code", "digest": "Digests", "version": "Versions"}
    groups: dict[str, list[tuple[str, str]]] = {
        "Code": [],
        "Digests": [],
        "Machine": [],
        "Versions": [],
    }
    for key, value in facts.items():
        prefix, _, rest = key.partition(".")
        if rest and prefix in titles:
            groups[titles[prefix]].append((rest, str(value)))
        else:
            groups["Machine"].append((key, str(value)))
    return {title: tuple(rows) for title, rows in groups.items()}


def _browse(tracking_uri: str) -> str:
    if tracking_uri.startswith(("http:", "https:")):
        return tracking_uri
    return f"mlflow ui --workers 1 --backend-store-uri {tracking_uri}"


def _download(name: str, table: pd.DataFrame) -> Download:
    csv = table.to_csv(index=False, lineterminator="\n").encode()
    uri = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(csv).decode()}"
    return Download(name, len(table), uri if len(csv) <= MAX_DOWNLOAD_BYTES else "")
