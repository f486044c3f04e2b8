"""Everything a report shows: dataclasses, and pandas tables (columns: reports/columns.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.columns import COLUMNS, Interval
from reports.looks import Look
from reports.measurements import LatencyRow, SpeedRow
from reports.second import SecondVerdict


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
    """By system, of the text that was scored; without those whose checkpoint is gone."""


@dataclass(frozen=True, kw_only=True)
class ConfigValue:
    """A value of a system's config, and what set it."""

    key: str
    value: str
    """As ``--set`` reads it."""
    layer: str
    """What kind of thing set it: "default", "space", "budget", …"""
    source: str
    """Which file or flag."""
    searched: str
    """The range or the choices of a key that was searched, in words, else ""."""


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
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Confirm runs planned by now, of systems that have another number than `num_seeds`."""
    rungs: str = ""
    """How halving goes on with fewer trials, a clause; "" without it."""

    def seeds_of(self, name: str) -> int:
        """Confirm runs of the system `name` planned by now."""
        return self.seeds.get(name, self.num_seeds)


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
    """The registered network."""
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
    plan: str = ""
    """When seeds are added until pairs are decided, in words."""
    seeds_at_looks: tuple[int, ...] = ()
    """Of a system, by the plan."""
    stamp: str = ""
    """That seeds were raised without a plan."""


@dataclass(frozen=True)
class Condition:
    """One condition of a fair comparison."""

    title: str
    outcome: Literal["good", "bad", "plain"]
    """Met, broken, or ("plain") unknown, since it was not recorded."""
    found: str
    details: tuple[str, ...] = ()
    """What differs, or breaks the condition: a sentence each."""
    of_costs: bool = False
    """Broken, it makes costs not comparable, and error rates stay comparable."""


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """A searched config key: a range, or choices."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[object, ...] = ()
    """If not empty, `low`, `high` and `log` mean nothing."""


@dataclass(frozen=True, kw_only=True)
class ConditionRate:
    """A system's test WER under one condition."""

    condition: str
    kind: str
    """What its level is of: "white", "babble", "room", or "as recorded"."""
    snr_db: float | None
    system: str
    wer: Interval


@dataclass(frozen=True, kw_only=True)
class ConditionGap:
    """How far two systems are apart under one condition, WER of b minus WER of a."""

    condition: str
    a: str
    b: str
    gap: Interval
    coverage: float
    """Of the interval, adjusted over all pairs and conditions."""
    p_adjusted: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class ConditionChange:
    """How much the gap of two systems changes with the level of a noise, or in a room."""

    what: str
    a: str
    b: str
    change: Interval
    coverage: float
    """Of the interval, adjusted over all pairs and changes."""
    p_adjusted: float
    differs: bool
    """Whether the interval leaves out zero."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The confirm runs on test utterances in noise, babble and a room."""

    name: str
    """Of the set of conditions."""
    rates: tuple[ConditionRate, ...]
    """Condition by condition, the recordings as they are first."""
    gaps: tuple[ConditionGap, ...]
    changes: tuple[ConditionChange, ...]
    sentences: tuple[str, ...]
    """Where each lead of the verdict is found again."""


@dataclass(frozen=True, kw_only=True)
class HeardSentence:
    """The corpus's first watch utterance as one confirm run read it; texts with single spaces."""

    system: str
    seed: int
    ref: str
    by_epoch: tuple[tuple[int, str], ...]
    """Greedy, after some epochs, the last one included."""
    greedy: str
    """By the best checkpoint."""
    beam: str | None
    """The same with the language model; None without."""


def _without_rows(name: str) -> Callable[[], pd.DataFrame]:
    """Makes an empty table of a ReportInput."""
    return partial(pd.DataFrame, columns=list(COLUMNS[name]))


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What `reports.build` draws."""

    study: str
    verdict: str
    """One sentence: which system is better and by how much, or that it is undecided."""
    command: str
    """The command that repeats the study."""
    corpus: CorpusSummary
    budget: BudgetSummary
    environment: Mapping[str, str]
    """Flat: versions, hardware, git commit, …"""
    tracking_uri: str
    systems: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    utterances: pd.DataFrame
    watch: pd.DataFrame
    design: StudyDesign
    speed: tuple[SpeedRow, ...] = ()
    """Measurements of the systems' variants, in the order of `systems`."""
    latency: tuple[LatencyRow, ...] = ()
    """Measurements of the confirm runs, in the order of `systems`."""
    configs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The flat config of each system's confirm runs; before there is one, with the first trial's
    setting."""
    values: Mapping[str, tuple[ConfigValue, ...]] = field(default_factory=dict)
    """Of each system, the values of `configs` with what set them."""
    conditions: tuple[Condition, ...] = ()
    """Of a fair comparison."""
    looks: tuple[Look, ...] = ()
    """In order."""
    diffs: Mapping[str, str] = field(default_factory=dict)
    """Uncommitted changes of the runs' code, as patches by the digest that the condition of the
    commit names."""
    train_words: Mapping[str, int] = field(default_factory=dict)
    """How often each word is said in train."""
    samples: tuple[Sample, ...] | None = ()
    """None if the user wants no recording in the page."""
    budget_curves: pd.DataFrame = field(default_factory=_without_rows("budget_curves"))
    expected_best: pd.DataFrame = field(default_factory=_without_rows("expected_best"))
    importances: pd.DataFrame = field(default_factory=_without_rows("importances"))
    tradeoffs: pd.DataFrame = field(default_factory=_without_rows("tradeoffs"))
    groups: pd.DataFrame = field(default_factory=_without_rows("groups"))
    gains: pd.DataFrame = field(default_factory=_without_rows("gains"))
    robustness: Robustness | None = None
    """Where the study was tested under conditions."""
    second: SecondVerdict | None = None
    """None where nothing was decoded with a language model."""
    heard: tuple[HeardSentence, ...] = ()
    spaces: Mapping[str, Mapping[str, SearchRange]] = field(default_factory=dict)
    """By system, then by searched config key."""
    winners: Mapping[str, int] = field(default_factory=dict)
    """By system, the slot of the trial whose setting its confirm runs have; without systems whose
    search has found none."""
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By system, where its best trial lies at the edge of a range: a sentence each."""

    @property
    def broken(self) -> tuple[str, ...]:
        """Titles of the conditions of a fair comparison of error rates that do not hold."""
        return tuple(
            each.title for each in self.conditions if each.outcome == "bad" and not each.of_costs
        )

    @property
    def costs_differ(self) -> tuple[str, ...]:
        """What makes the systems' costs not comparable: a sentence each."""
        return tuple(
            detail
            for each in self.conditions
            if each.outcome == "bad" and each.of_costs
            for detail in each.details
        )

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            missing = set(columns) - set(getattr(self, name).columns)
            assert not missing, f"ReportInput.{name} lacks {sorted(missing)}"
