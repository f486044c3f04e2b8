"""The tables of a report: one TypedDict each, whose keys are the columns, for the types of rows.

Rates (WER, CER) are fractions: 0.12 is 12 %. A number that is unknown is NaN.
"""

from collections.abc import Iterable, Mapping
from typing import TypedDict, TypeVar, cast

import pandas as pd

Row = TypeVar("Row")
"""One of the TypedDicts below, or one that adds columns to it."""

Interval = tuple[float, float, float]
"""A value and the ends of its interval; fractions, NaN where unknown."""


class SystemColumns(TypedDict):
    """One row a system, in the order of the command line. The squared parts of the standard error
    of the mean WER add up; NaN where a source cannot be estimated."""

    system: str
    summary: str
    source: str
    wer_mean: float
    wer_low: float
    wer_high: float
    cer_mean: float
    num_parameters: float
    macs_per_second_of_audio: float
    audio_seconds_per_second: float
    train_seconds: float
    search_seconds: float
    peak_memory_bytes: float
    num_trials: float
    num_finished: float
    num_cut: float
    num_pruned: float
    num_diverged: float
    num_failed: float
    num_seeds: float
    pareto_optimal: bool
    """No other system has a lower WER at as few multiply-adds."""
    real_time_factor: float
    se_from_seeds: float
    se_from_test_set: float
    se_from_interaction: float


class PairColumns(TypedDict):
    """One row an unordered pair of systems. The tests are of the first runs."""

    a: str
    b: str
    claim: bool
    """Registered before the study."""
    delta_wer: float
    """WER of b minus WER of a: above zero, a is better."""
    low: float
    """`low` and `high` are the ends of the interval that decided, at the level `coverage`."""
    high: float
    coverage: float
    p: float
    """Of the hypothesis of no difference."""
    p_adjusted: float
    """For multiplicity, over claims first and then over the other pairs."""
    margin: float
    verdict: str
    """"<name> better", "equivalent" (within `margin`) or "undecided"; of single runs "checkpoints
    differ" or "checkpoints equivalent". "withheld" in place of "<name> better" if the best trial of
    a system lies at the edge of a searched range."""
    remedy: str
    """What would decide an undecided pair, or why a verdict is withheld."""
    minimum_detectable_effect: float
    """Found with 80 % power at the pair's level."""
    probability_of_improvement: float
    """That a random seed of a beats one of b."""
    share_seeds: float
    """The shares split the variance of `delta_wer`; NaN where a source cannot be seen."""
    share_test_set: float
    share_interaction: float
    mapsswe_p: float
    mcnemar_p: float
    wilcoxon_p: float


class GroupColumns(TypedDict):
    """One row an attribute of utterances or speakers, a group of it and a system; low and high of
    the 95 % interval, NaN for a group of one speaker."""

    attribute: str
    group: str
    system: str
    wer: float
    low: float
    high: float
    num_utterances: int
    num_speakers: int
    num_ref_words: int


class GainColumns(TypedDict):
    """One row a pair of systems and a group: WER of b minus WER of a inside the group and outside;
    `low` and `high` of inside minus outside at the level `coverage`; whether zero is left out."""

    attribute: str
    group: str
    a: str
    b: str
    delta_inside: float
    delta_outside: float
    low: float
    high: float
    coverage: float
    p_adjusted: float
    differs: bool


class RunColumns(TypedDict):
    """One row a run, trial or confirm."""

    run: str
    system: str
    kind: str
    slot: int
    """The trial's or the confirm run's number."""
    attempt: int
    seed: int
    state: str
    """finished, cut (by the cap on training seconds, then evaluated), pruned, diverged, failed,
    killed or running."""
    valid_wer: float
    """Best over epochs."""
    test_wer: float
    test_cer: float
    best_epoch: float
    num_epochs: float
    train_seconds: float
    params: Mapping[str, object]
    """The searched settings."""
    mlflow_run_id: str
    message: str
    """Of a failure."""
    num_test_openings: float


class CurveColumns(TypedDict):
    """One row a run, metric and step; metric names as logged ("train/loss", "valid/wer", …). What
    the run had trained for (`seconds`, of steps alone) and on (`audio_hours`) by then, or NaN."""

    run: str
    metric: str
    step: int
    epoch: float
    seconds: float
    audio_hours: float
    value: float


class UtteranceColumns(TypedDict):
    """One row a scored test utterance of a confirm run."""

    run: str
    system: str
    seed: int
    id: str
    speaker: str
    seconds: float
    num_ref_words: int
    substitutions: int
    deletions: int
    insertions: int
    ref: str
    hyp: str


class WatchColumns(TypedDict):
    """One row a watch utterance and evaluation of a run."""

    run: str
    system: str
    kind: str
    seed: int
    id: str
    epoch: float
    step: int
    ref: str
    hyp: str


class BudgetCurveColumns(TypedDict):
    """One row an ended trial of a system, in the order they ended: training seconds spent by then,
    and the lowest valid WER of those that trained as far as the budget goes."""

    system: str
    num_trials: int
    train_seconds: float
    best_valid_wer: float


class ExpectedBestColumns(TypedDict):
    """One row a number n of trials: the expected lowest valid WER of n independent trials, up to
    how many independent ones ended; NaN where all n may lack a WER."""

    system: str
    num_trials: int
    valid_wer: float


class ImportanceColumns(TypedDict):
    """One row a system and searched key: its importance by PED-ANOVA; the sum over keys is 1."""

    system: str
    key: str
    importance: float


class TradeoffColumns(TypedDict):
    """One row a cost and a system that has it and a WER. Per cost: the reference point, and the
    share of the rectangle from zero to it that the Pareto set dominates."""

    cost: str
    """A column of the table of systems, "real_time_factor" or "user_perceived_ms"."""
    system: str
    value: float
    pareto_optimal: bool
    """No other system is as good in both and better in one."""
    reference_wer: float
    reference_cost: float
    hypervolume: float


COLUMNS: Mapping[str, tuple[str, ...]] = {
    name: tuple(row_type.__annotations__)
    for name, row_type in {
        "systems": SystemColumns,
        "pairs": PairColumns,
        "groups": GroupColumns,
        "gains": GainColumns,
        "runs": RunColumns,
        "curves": CurveColumns,
        "utterances": UtteranceColumns,
        "watch": WatchColumns,
        "budget_curves": BudgetCurveColumns,
        "expected_best": ExpectedBestColumns,
        "importances": ImportanceColumns,
        "tradeoffs": TradeoffColumns,
    }.items()
}
"""The columns of each table of a ReportInput; a table may have more."""


def word_errors(utterances: pd.DataFrame) -> "pd.Series[int]":
    """The word errors of each row, of the three kinds together."""
    return utterances["substitutions"] + utterances["deletions"] + utterances["insertions"]


def seen_from(pair: PairColumns, name: str) -> Interval:
    """WER of the other system of `pair` minus that of `name`, with the interval that decided."""
    if pair["a"] == name:
        return pair["delta_wer"], pair["low"], pair["high"]
    # The other way round the difference changes its sign, and the ends change places.
    return -pair["delta_wer"], -pair["high"], -pair["low"]


def answer(pairs: Iterable[PairColumns], better: str, worse: str) -> str:
    """What became of the claim that `better` has a lower WER than `worse`: "found", "contradicted",
    "not compared yet", or the verdict on the pair."""
    verdicts = {frozenset((row["a"], row["b"])): row["verdict"] for row in pairs}
    verdict = verdicts.get(frozenset((better, worse)), "not compared yet")
    return {f"{better} better": "found", f"{worse} better": "contradicted"}.get(verdict, verdict)


def rows_of(table: pd.DataFrame, row_type: type[Row]) -> list[Row]:
    """The rows of `table`, which has the columns of `row_type`."""
    assert set(row_type.__annotations__) <= set(table.columns), f"{row_type}: {table.columns}"
    return cast(list[Row], table.to_dict("records"))
