"""What a study found, told to MLflow."""

from pathlib import Path

from bench.results.comparison import Comparison
from bench.results.report_input import REPORT_FILE, command_of
from bench.runs import Findings, StudyTracker
from bench.study.definition import load
from reports import ReportInput
from reports.palette import colour, variant_names


def publish(
    tracker: StudyTracker, folder: Path, report_input: ReportInput, comparison: Comparison
) -> None:
    """One summary run a system, so that comparing k systems in the MLflow UI takes k runs; told
    again, it changes nothing."""
    definition = load(folder)
    findings = Findings(
        verdict=comparison.verdict,
        command=command_of(definition),
        report=folder / REPORT_FILE,
        baseline=definition.baseline,
        variants=comparison.variants,
        pairs=comparison.pairs,
        colors={name: colour(tone) for tone, name in enumerate(variant_names(report_input))},
    )
    tracker.summarise(findings, report_input.configs)
