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
    narrow = frozenset(label for label, edges in report_input.edges.items() if edges)
    findings = Findings(
        verdict=comparison.verdict,
        command=report_input.command,
        report=folder / REPORT_FILE,
        baseline=definition.baseline,
        systems=_with_second(folder, comparison.systems, report_input.second),
        pairs=comparison.pairs,
        notes=(
            *filter(None, [raised_sentence(definition)]),
            *(look_sentence(look, narrow) for look in looks),
        ),
        tags=study_tags(definition, looks),
        colors={name: colour(tone) for tone, name in enumerate(system_names(report_input))},
    )
    tracker.summarise(findings, report_input.configs)


def _with_second(folder: Path, systems: pd.DataFrame, second: SecondVerdict | None) -> pd.DataFrame:
    """`systems` with columns of the second verdict and of its language model, if there is one."""
    if second is None:
        return systems
    lm, nan = load_plan(folder).lm, float("nan")
    columns = ["lm_wer_mean", "lm_wer_low", "lm_wer_high", "lm_alpha", "lm_beta"]
    rows = {gain.system: (*gain.beam, gain.alpha, gain.beta) for gain in second.gains}
    gains = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return systems.join(gains, on="system").assign(
        lm_order=lm.order,
        lm_num_ngrams=sum(lm.num_ngrams),
        lm_valid_perplexity=nan if lm.perplexity is None else lm.perplexity,
        lm_valid_oov=nan if lm.oov is None else lm.oov,
    )
