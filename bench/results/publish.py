"""Recording a study's results in MLflow."""

from pathlib import Path

import pandas as pd

from bench.results.comparison import StudyComparison
from bench.results.looks import look_sentence
from bench.results.report_input import REPORT_FILE
from bench.runs import Findings, StudyTracker
from bench.study.decoding import load_plan
from bench.study.definition import load
from bench.study.rounds import raised_sentence, read_looks, study_tags
from reports.input import ReportInput
from reports.palette import colour, system_names
from reports.second import SecondVerdict


def publish(
    tracker: StudyTracker, folder: Path, report_input: ReportInput, comparison: StudyComparison
) -> None:
    """Record one summary run per system, so that k runs compare k systems in the MLflow UI;
    repeated calls change nothing."""
    definition, looks = load(folder), read_looks(folder)
    findings = Findings(
        verdict=comparison.verdict,
        command=report_input.command,
        report=folder / REPORT_FILE,
        baseline=definition.baseline,
        systems=_with_second(folder, comparison.systems, report_input.second),
        pairs=comparison.pairs,
        notes=(
            *filter(None, [raised_sentence(definition)]),
            *(look_sentence(look, _narrow(report_input)) for look in looks),
        ),
        tags=study_tags(definition, looks),
        colors={name: colour(tone) for tone, name in enumerate(system_names(report_input))},
    )
    tracker.summarise(findings, report_input.configs)


def _narrow(report_input: ReportInput) -> frozenset[str]:
    return frozenset(label for label, edges in report_input.edges.items() if edges)


def _with_second(folder: Path, systems: pd.DataFrame, second: SecondVerdict | None) -> pd.DataFrame:
    """`systems` with columns of the second verdict and of its language model, if there is one."""
    if second is None:
        return systems
    lm, gains = load_plan(folder).lm, {gain.system: gain for gain in second.gains}
    rows = [gains.get(str(name)) for name in systems["system"]]
    nan = float("nan")
    return systems.assign(
        lm_wer_mean=[nan if row is None else row.beam[0] for row in rows],
        lm_wer_low=[nan if row is None else row.beam[1] for row in rows],
        lm_wer_high=[nan if row is None else row.beam[2] for row in rows],
        lm_alpha=[nan if row is None else row.alpha for row in rows],
        lm_beta=[nan if row is None else row.beta for row in rows],
        lm_order=lm.order,
        lm_num_ngrams=sum(lm.num_ngrams),
        lm_valid_perplexity=nan if lm.perplexity is None else lm.perplexity,
        lm_valid_oov=nan if lm.oov is None else lm.oov,
    )
