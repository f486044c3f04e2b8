"""How to reproduce the study: command, code, versions, budget, every config value with what set it;
downloads."""

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reports.format import (
    bare_percent,
    count,
    duration,
    latex_table,
    markdown_table,
    plural,
    setting,
    short,
)
from reports.input import ConfigValue, ReportInput
from reports.mlflow_pages import is_served, serve_command

TITLE = "Reproduce"

DOWNLOADS = ("systems", "pairs", "runs", "curves", "utterances", "watch")
MAX_DOWNLOAD_BYTES = 300_000
"""A larger table is not embedded; the run folders and MLflow hold it."""


@dataclass(frozen=True)
class Download:
    """A file in the page; no `uri` if it is too large to be embedded."""

    name: str
    """Of the file."""
    size: str
    """In words."""
    uri: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows: facts in named groups, as (name, value)."""

    commands: str
    """That repeat the study from a clone, a line each."""
    kept: str
    """That compute its numbers again from the recorded runs."""
    browse: str
    """How to look at the runs in MLflow."""
    facts: Mapping[str, tuple[tuple[str, str], ...]]
    settings: str
    """The command that prints the first trial's settings."""
    values: Mapping[str, tuple[ConfigValue, ...]]
    """For each system its config."""
    downloads: tuple[Download, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """Provenance as text, tables as CSV."""
    settings, uri = report_input.budget.settings, report_input.tracking_uri
    budget = tuple((key, _budget(key, value)) for key, value in settings.items())
    facts = {"Budget": budget, **_environment(report_input.environment)}
    return Numbers(
        commands="\n".join(_commands(report_input)),
        kept="\n".join(
            f"python -m bench.{verb} {shlex.quote(report_input.study)}"
            for verb in ("compare", "report")
        ),
        browse=uri if is_served(uri) else serve_command(uri),
        facts={group: rows for group, rows in facts.items() if rows},
        settings=f"python -m bench.ls config --study {shlex.quote(report_input.study)}",
        values=report_input.values,
        downloads=(*_results(report_input), *_tables(report_input), *_patches(report_input)),
    )


def _commands(report_input: ReportInput) -> Iterator[str]:
    """The code too, where all runs had the same."""
    commit, diffs = report_input.environment.get("git.commit", ""), list(report_input.diffs)
    if re.fullmatch("[0-9a-f]+", commit):
        yield f"git checkout {commit}"
        if len(diffs) == 1:
            yield f"git apply {_patch_name(diffs[0])}"
    yield report_input.command


def _budget(key: str, value: object) -> str:
    if key.endswith("_seconds") and isinstance(value, int | float):
        return duration(value)
    return setting(value)


def _environment(facts: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The facts by their prefix; those without one are about the machine."""
    titles = {"git": "Code", "digest": "Digests", "version": "Versions"}
    named = ("Code", "Digests", "Machine", "Versions")
    groups: dict[str, list[tuple[str, str]]] = {title: [] for title in named}
    for key, value in facts.items():
        prefix, _, rest = key.partition(".")
        if rest and prefix in titles:
            groups[titles[prefix]].append((rest, str(value)))
        else:
            groups["Machine"].append((key, str(value)))
    return {title: tuple(rows) for title, rows in groups.items()}


def _tables(report_input: ReportInput) -> Iterator[Download]:
    for name in DOWNLOADS:
        table = getattr(report_input, name)
        csv = table.to_csv(index=False, lineterminator="\n")
        yield _download(f"{name}.csv", plural(len(table), "row"), "text/csv", csv)


def _patches(report_input: ReportInput) -> Iterator[Download]:
    """What was changed since the commit, for ``git apply``."""
    for name, diff in report_input.diffs.items():
        yield _download(_patch_name(name), plural(diff.count("\n"), "line"), "text/plain", diff)


def _patch_name(digest: str) -> str:
    return f"changes-{digest}.patch"


def _results(report_input: ReportInput) -> Iterator[Download]:
    """What is pasted elsewhere: systems and pairs as JSON, the systems as Markdown and LaTeX."""
    systems, pairs = report_input.systems, report_input.pairs
    tables = {
        name: json.loads(table.to_json(orient="records"))
        for name, table in (("systems", systems), ("pairs", pairs))
    }
    told = json.dumps({"study": report_input.study, "verdict": report_input.verdict, **tables})
    both = plural(len(systems) + len(pairs), "row")
    yield _download("results.json", both, "application/json", told)
    header = ["system", "WER %", "95 %", "CER %", "parameters", "seeds"]
    rows = [
        [
            str(row["system"]),
            bare_percent(row["wer_mean"]),
            f"{bare_percent(row['wer_low'])} to {bare_percent(row['wer_high'])}",
            bare_percent(row["cer_mean"]),
            short(row["num_parameters"]),
            count(row["num_seeds"]),
        ]
        for row in systems.to_dict("records")
    ]
    each = plural(len(rows), "row")
    markdown, latex = markdown_table(header, rows) + "\n", latex_table(header, rows) + "\n"
    yield _download("results.md", each, "text/markdown", markdown)
    yield _download("results.tex", each, "text/plain", latex)


def _download(name: str, size: str, kind: str, content: str) -> Download:
    encoded = content.encode()
    uri = f"data:{kind};charset=utf-8;base64,{base64.b64encode(encoded).decode()}"
    return Download(name, size, uri if len(encoded) <= MAX_DOWNLOAD_BYTES else "")
