"""Recording a study's results in MLflow."""

from pathlib import Path

from bench.results.comparison import StudyComparison
from bench.results.looks import look_sentence
from bench.results.report_input import REPORT_FILE, command_of
from bench.runs import Findings, StudyTracker
from bench.study.definition import load
from bench.study.rounds import raised_sentence, read_looks, study_tags
from reports import ReportInput
from reports.palette import colour, system_names


def publish(
    tracker: StudyTracker, folder: Path, report_input: ReportInput, comparison: StudyComparison
) -> None:
    """Record one summary run per system, so that k runs compare k systems in the MLflow UI;
    repeated calls change nothing."""
    definition, looks = load(folder), read_looks(folder)
    findings = Findings(
        verdict=comparison.verdict,
        command=command_of(definition),
        report=folder / REPORT_FILE,
        baseline=definition.baseline,
        systems=comparison.systems,
        pairs=comparison.pairs,
        notes=(*filter(None, [raised_sentence(definition)]), *map(look_sentence, looks)),
        tags=study_tags(definition, looks),
        colors={name: colour(tone) for tone, name in enumerate(system_names(report_input))},
    )
    tracker.summarise(findings, report_input.configs)
