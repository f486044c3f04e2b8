"""Everything a report shows: plain values and pandas tables, with their columns written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    # One row a variant and searched key: its share in what tells good trials from bad ones.
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
    """An utterance to be heard."""

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
class ReportInput:
    """What `reports.build` draws."""

    study: str
    verdict: str
    """One sentence: which variant is better, by how much, or that no difference can be seen."""
    command: str
    """The command that repeats the study."""
    corpus: Mapping[str, Any]
    """`name, digest, notes (list), leakage (dict), left_out (dict reason -> count)`, and per split
    `splits: {split: {utterances, speakers, seconds}}`."""
    budget: Mapping[str, Any]
    environment: Mapping[str, str]
    """Flat: versions, hardware, git commit, …"""
    tracking_uri: str
    variants: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    utterances: pd.DataFrame
    watch: pd.DataFrame
    design: Mapping[str, Any]
    """`method` with `level, alpha, power, margin, num_replicates, fewest_linearised`; `held_equal`
    (such as "2,000,000 parameters", or ""); `question` with `name, summary, claim,
    source, base` and `better`, pairs of which the first is claimed to have the lower WER;
    `findings`, pairs of a matter and what was found about it; `assumptions`, what the verdicts rest
    on, a sentence each; per row of the study `systems:
    {label: {variant, settings (dict), changes (keys that differ from the base)}}`."""
    speed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS["speed"]))
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The flat config of each variant's confirm runs, or of its base before there is one."""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What is known of how each variant's scored runs came about: `data, text, decoder, precision,
    hardware, metric, features, code` and the keys of `budget.`; what nobody recorded is left out,
    values joined by " | " are of runs that do not agree."""
    diffs: Mapping[str, str] = field(default_factory=dict)
    """What the runs' trees had changed since their commits, by the digest that `facts` tells."""
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
    spaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Searched keys of each variant: ``{variant: {key: {"low": …, "high": …, "log": …} or
    {"choices": […]}}}``."""

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            missing = set(columns) - set(getattr(self, name).columns)
            assert not missing, f"ReportInput.{name} lacks {sorted(missing)}"
