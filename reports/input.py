"""Everything a report shows: dataclasses, and pandas tables with their columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS: Mapping[str, tuple[str, ...]] = {
    # One row a variant, in the order of the command line. WERs and CERs are fractions (0.12 is
    # 12 %), NaN if unknown. `pareto_optimal`: no other variant has a lower WER at as few
    # multiply-adds. The squared parts of the standard error of the mean WER add up; NaN where a
    # source cannot be estimated.
    "variants": (
        "variant", "summary", "source", "wer_mean", "wer_low", "wer_high", "cer_mean",
        "num_parameters", "macs_per_second_of_audio", "audio_seconds_per_second", "train_seconds",
        "search_seconds", "peak_memory_bytes", "num_trials", "num_finished", "num_cut",
        "num_pruned", "num_diverged", "num_failed", "num_seeds", "pareto_optimal",
        "real_time_factor", "se_from_seeds", "se_from_test_set", "se_from_interaction",
    ),
    # One row an unordered pair: WER of b minus WER of a (above zero, a is better), its p
    # and adjusted p, the probability that a random seed of a beats one of b, and the verdict:
    # "<name> better", "equivalent" (within `margin`) or "undecided"; of single runs "checkpoints
    # differ" or "checkpoints equivalent". `low` and `high`: of the interval that decided,
    # `coverage` its level. `claim`: registered before the study. `remedy`: what would decide an
    # undecided pair. `minimum_detectable_effect`: found with 80 % power at the pair's level. The
    # shares split the variance of `delta_wer`; NaN where a source cannot be seen. The tests are of
    # the first runs.
    "pairs": (
        "a", "b", "claim", "delta_wer", "low", "high", "coverage", "p", "p_adjusted", "margin",
        "verdict", "remedy", "minimum_detectable_effect", "probability_of_improvement",
        "share_seeds", "share_test_set", "share_interaction", "mapsswe_p", "mcnemar_p",
        "wilcoxon_p",
    ),
    # One row a run, trial or confirm. `state`: finished, cut (by the cap on training seconds, then
    # evaluated), pruned, diverged, failed, killed or running. `params`: the searched settings as a
    # dict. `valid_wer`: best over epochs. `slot`: the trial's or the confirm run's number.
    # `message`: of a failure.
    "runs": (
        "run", "variant", "kind", "slot", "attempt", "seed", "state", "valid_wer", "test_wer",
        "test_cer", "best_epoch", "num_epochs", "train_seconds", "params", "mlflow_run_id",
        "message", "num_test_openings",
    ),
    # One row a run, metric and step; metric names as logged ("train/loss", "valid/wer", …). What
    # the run had trained for (`seconds`, of steps alone) and on (`audio_hours`) by then, or NaN.
    "curves": ("run", "metric", "step", "epoch", "seconds", "audio_hours", "value"),
    # One row a scored test utterance of a confirm run.
    "utterances": (
        "run", "variant", "seed", "id", "speaker", "seconds", "num_ref_words", "substitutions",
        "deletions", "insertions", "ref", "hyp",
    ),
    # One row a watch utterance and evaluation of a run.
    "watch": ("run", "variant", "kind", "seed", "id", "epoch", "step", "ref", "hyp"),
    # One row a measurement of bench.speed; `shares`: of a run's time, a dict by phase. Rates are in
    # seconds of audio per second; `ratio` is to the family's way of training, `plain_ratio` to the
    # plain way; None or NaN where there is no such baseline.
    "speed": (
        "variant", "width", "device", "utterance_seconds", "batch_seconds",
        "audio_seconds_per_second", "ratio", "plain_ratio", "fraction_of_matmul_peak",
        "recurrent_fraction_of_matmul_peak", "padding_share", "peak_memory_bytes",
        "latency_seconds", "real_time_factor", "workers_ratio", "shares",
    ),
    # One row an ended trial of a variant, in the order they ended: training seconds spent by then,
    # and the lowest valid WER of those that trained as far as the budget goes.
    "budget_curves": ("variant", "num_trials", "train_seconds", "best_valid_wer"),
    # One row a number n of trials: the expected lowest valid WER of n independent trials, up to how
    # many independent ones ended; NaN where all n may lack a WER.
    "expected_best": ("variant", "num_trials", "valid_wer"),
    # One row a variant and searched key: its importance by PED-ANOVA; the sum over keys is 1.
    "importances": ("variant", "key", "importance"),
    # One row a cost and a variant that has it and a WER. `cost` is a column of `variants` or
    # "real_time_factor"; `pareto_optimal`: no other variant is as good in both and better in
    # one. Per cost: the reference point, and the share of the rectangle from zero to it that the
    # Pareto set dominates.
    "tradeoffs": (
        "cost", "variant", "value", "pareto_optimal", "reference_wer", "reference_cost",
        "hypervolume",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Letter:
    """A symbol that CTC emitted."""

    symbol: str
    seconds: float
    """When, from the beginning of the utterance."""
    probability: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A test utterance with its recording."""

    id: str
    speaker: str
    ref: str
    seconds: float
    flac: bytes
    """The recording, mono."""
    spectrogram: NDArray[np.uint8]
    """(bins, frames), the lowest bin last."""
    letters: Mapping[str, tuple[Letter, ...]]
    """By variant, of the text that was scored; without those whose checkpoint is gone."""


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """The size of a split."""

    split: str
    num_utterances: int
    num_speakers: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CorpusSummary:
    """The data of a study."""

    name: str
    digest: str
    notes: tuple[str, ...]
    leakage: Mapping[str, int]
    """Number of shared utterances by splits and kind, such as "train/test same speaker"."""
    excluded: Mapping[str, int]
    """Number of utterances that no system was trained or scored on, by reason."""
    splits: tuple[SplitSummary, ...]

    @property
    def num_excluded(self) -> int:
        """For all reasons together."""
        return sum(self.excluded.values())


@dataclass(frozen=True, kw_only=True)
class BudgetSummary:
    """What each system may spend."""

    name: str
    num_trials: int
    num_seeds: int
    max_train_seconds: float
    """Of one run."""
    settings: Mapping[str, object]
    """Every field of the budget, these four included."""


@dataclass(frozen=True, kw_only=True)
class MethodConstants:
    """The constants of the statistics, from the modules that apply them."""

    level: float
    """Of the intervals of single systems."""
    alpha: float
    """Family-wise error rate of all verdicts of a study."""
    power: float
    margin: float
    """Of equivalence: a difference of WERs, as a fraction."""
    num_replicates: int
    """Of the bootstrap."""
    fewest_linearised: int
    """Speakers, below which the variance over speakers is bootstrapped."""


@dataclass(frozen=True, kw_only=True)
class QuestionSummary:
    """What a study was registered to test."""

    base: str
    """The system that the others are compared with."""
    claim: str = ""
    source: str = ""
    better: tuple[tuple[str, str], ...] = ()
    """The claim as pairs of systems, the first with the lower WER."""


@dataclass(frozen=True, kw_only=True)
class SystemSummary:
    """One system as the study declares it."""

    variant: str
    settings: Mapping[str, object]
    changes: tuple[str, ...]
    """Config keys in which it differs from the base."""


@dataclass(frozen=True, kw_only=True)
class StudyDesign:
    """What a study compares, and how."""

    method: MethodConstants
    held_equal: str = ""
    """Such as "2,000,000 parameters"."""
    question: QuestionSummary | None = None
    systems: Mapping[str, SystemSummary] = field(default_factory=dict)
    """By label."""
    findings: tuple[tuple[str, str], ...] = ()
    """Pairs of a topic and what was found about it."""
    assumptions: tuple[str, ...] = ()
    """Of the verdicts, a sentence each."""


@dataclass(frozen=True)
class Condition:
    """One condition of a fair comparison."""

    title: str
    outcome: Literal["good", "bad", "plain"]
    """Met, broken, or ("plain") unknown, since nobody recorded it."""
    found: str
    details: tuple[str, ...] = ()
    """What differs, or breaks the condition: a sentence each."""


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """A searched config key: a range, or choices."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[object, ...] = ()
    """If not empty, `low`, `high` and `log` mean nothing."""


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What `reports.build` draws."""

    study: str
    verdict: str
    """One sentence: which variant is better and by how much, or that it is undecided."""
    command: str
    """The command that repeats the study."""
    corpus: CorpusSummary
    budget: BudgetSummary
    environment: Mapping[str, str]
    """Flat: versions, hardware, git commit, …"""
    tracking_uri: str
    variants: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    utterances: pd.DataFrame
    watch: pd.DataFrame
    design: StudyDesign
    speed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS["speed"]))
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The flat config of each variant's confirm runs, or of its base before there is one."""
    conditions: tuple[Condition, ...] = ()
    """Of a fair comparison."""
    diffs: Mapping[str, str] = field(default_factory=dict)
    """Uncommitted changes of the runs' code, as patches by the digest that the condition of the
    commit names."""
    train_words: Mapping[str, int] = field(default_factory=dict)
    """How often each word is said in train."""
    samples: tuple[Sample, ...] | None = ()
    """None if the user wants no recording in the page."""
    budget_curves: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(COLUMNS["budget_curves"]))
    )
    expected_best: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(COLUMNS["expected_best"]))
    )
    importances: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(COLUMNS["importances"]))
    )
    tradeoffs: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(COLUMNS["tradeoffs"]))
    )
    spaces: Mapping[str, Mapping[str, SearchRange]] = field(default_factory=dict)
    """By variant, then by searched config key."""

    @property
    def broken(self) -> tuple[str, ...]:
        """Titles of the conditions of a fair comparison that do not hold."""
        return tuple(each.title for each in self.conditions if each.outcome == "bad")

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            missing = set(columns) - set(getattr(self, name).columns)
            assert not missing, f"ReportInput.{name} lacks {sorted(missing)}"
