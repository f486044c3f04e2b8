"""What a sweep prints at its end: the verdicts, the commands that show more, what was heard."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator

from bench.core.console import STDOUT
from bench.data.utterance import Corpus
from bench.decoding.beam import install_command
from bench.results.comparison import StudyComparison
from bench.runs import display_uri, tracking_uri
from bench.runs.mlflow.uri import VARIABLE
from reports.format import bare_percent, decimal, plural, points, points_range
from reports.input import ReportInput
from reports.mlflow_pages import is_served
from reports.second import SecondVerdict
from reports.sections.verdict import cautions, split_heard

MAX_UNDECIDED = 5
"""Pairs beside the one in the verdict that the console says more of."""


def print_result(
    comparison: StudyComparison,
    report_input: ReportInput,
    corpus: Corpus,
    report: str,
    searches: str,
    model: str | None,
) -> None:
    """Print what a sweep found: the verdicts, where to look on, what was heard.

    `report` is a path; `searches` is the queue, as optuna-dashboard takes it; `model` is the
    address of a version of a registered model, if one was asked for.
    """
    STDOUT.print(f"\n{comparison.verdict}", style="bold", markup=False)
    for sentence in (*_undecided(comparison), *cautions(report_input), *comparison.assumptions):
        STDOUT.print(sentence, markup=False)
    _print_places(comparison, report_input, corpus, report, searches)
    if model is not None:
        STDOUT.print(f"model:    {model}", markup=False)
    if report_input.second is not None:
        _print_second(report_input.second)
    if (found := report_input.robustness) is not None:
        STDOUT.print(f"\nUnder {found.name}:", markup=False)
        for sentence in found.sentences:
            STDOUT.print(sentence, markup=False)
    _print_heard(report_input)


def _print_places(
    comparison: StudyComparison,
    report_input: ReportInput,
    corpus: Corpus,
    report: str,
    searches: str,
) -> None:
    """Print the report's path, and the commands that open the rest."""
    STDOUT.print(f"\nreport:   {shlex.quote(report)}", markup=False)
    STDOUT.print(f"compare:  {_browse(tracking_uri())}", markup=False)
    dashboard = shlex.join(["optuna-dashboard", "--host", "127.0.0.1", searches])
    STDOUT.print(f"searches: {dashboard}", markup=False)
    if comparison.systems["num_seeds"].any():
        example = (corpus.split("watch") or corpus.split("valid"))[0]
        channel = [] if example.channel is None else ["--channel", str(example.channel)]
        listen = ["bench.transcribe", "--study", report_input.study, *channel, str(example.audio)]
        STDOUT.print(f"listen:   {_python_m(*listen)}", markup=False)


def _undecided(comparison: StudyComparison) -> Iterator[str]:
    """What would decide each open pair that the verdict does not mention, claims first."""
    rows = [row for row in comparison.pairs.to_dict("records") if row["remedy"]]
    rows = [row for row in rows if row["remedy"] not in comparison.verdict]
    rows.sort(key=lambda row: not row["claim"])
    for row in rows[:MAX_UNDECIDED]:
        yield f"{row['a']}, {row['b']} {row['verdict']}: {row['remedy']}."
    if more := rows[MAX_UNDECIDED:]:
        yield f"{len(more)} more pairs are undecided or withheld; the report has them all."


def _print_second(second: SecondVerdict) -> None:
    """Print the verdict with the language model."""
    STDOUT.print(f"\nWith a language model: {second.verdict}", style="bold", markup=False)
    for gain in second.gains:
        change, low, high = gain.change
        greedy, beam = bare_percent(gain.greedy[0]), bare_percent(gain.beam[0])
        STDOUT.print(
            f"{gain.system}: {greedy} % greedy, {beam} % with it: {points(change)} points "
            f"({points_range(low, high)}); alpha {decimal(gain.alpha, 2)}, "
            f"beta {decimal(gain.beta, 2)}",
            markup=False,
        )
    STDOUT.print(second.lm, markup=False)


def _print_heard(report_input: ReportInput) -> None:
    """Print the transcripts of the first watch utterance below its reference."""
    if not report_input.heard:
        return
    STDOUT.print(f"\nsaid:     {report_input.heard[0].ref}", markup=False)
    shown, more = split_heard(report_input.heard)
    for heard in shown:
        who = f"({heard.system}, seed {heard.seed})"
        STDOUT.print(f"heard:    {heard.greedy} {who}", markup=False)
        if heard.beam is not None:
            STDOUT.print(f"with LM:  {heard.beam}", markup=False)
    if more:
        STDOUT.print(f"{plural(len(more), 'more network')} in the report", markup=False)
    if any(heard.beam is None for heard in report_input.heard):
        STDOUT.print(f"with a language model: {install_command()}", markup=False)


def _browse(uri: str) -> str:
    """The address of a tracking server, or the command that serves another kind of store."""
    if is_served(uri) or uri.startswith("databricks"):
        return display_uri(uri)
    command = _python_m("mlflow", "ui", "--workers", "1", "--backend-store-uri")
    # The address of a database may include a password, which must not be printed.
    shown = shlex.quote(uri) if uri == display_uri(uri) else f'"${VARIABLE}"'
    return f"{command} {shown}"


def _python_m(*words: str) -> str:
    """A shell command that runs this interpreter: ``python`` if that is it, else its path."""
    active = shutil.which("python") == sys.executable
    return shlex.join(["python" if active else os.path.relpath(sys.executable), "-m", *words])
