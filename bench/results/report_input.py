"""A study's records, gathered into what the report draws."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pandas as pd

from bench.core.config import Resolved, as_setting, digest, flatten, identity, to_dict
from bench.costs import records
from bench.data.corpora import load_corpus
from bench.data.utterance import SPLITS, Corpus
from bench.results.comparability import SEPARATOR
from bench.results.comparison import StudyComparison, compare
from bench.results.conditions import conditions, seeds_condition
from bench.results.groups import by_every_group
from bench.results.looks import margin_of
from bench.results.planned import openings_sentence
from bench.results.robustness import robustness
from bench.results.samples import gather_samples
from bench.results.search import budget_curves, expected_best_curves, search_edges, winners
from bench.results.second_verdict import second_verdict
from bench.results.systems import recorded_facts
from bench.results.tradeoffs import tradeoffs
from bench.results.tuning import tuning_condition
from bench.results.watch import heard_sentences
from bench.runs import read_study, store_of
from bench.runs.layout import DIFF, ENVIRONMENT, PATHS, read_json
from bench.runs.state import TRAINED
from bench.stats.clusters import FEWEST_LINEARISED, NUM_REPLICATES
from bench.stats.estimate import POWER
from bench.stats.intervals import LEVEL
from bench.stats.multiplicity import ALPHA
from bench.study.decoding import find_plan
from bench.study.definition import StudyDefinition, load
from bench.study.importance import importances
from bench.study.layers import explained
from bench.study.match import WIDTH
from bench.study.request import command_of
from bench.study.robustness import load_plan
from bench.study.rounds import confirm_seeds, plan_sentence, raised_sentence, read_looks
from bench.study.rungs import rungs_clause
from bench.study.space import Budget, Dimension
from bench.training.config import NETWORK_KEYS, RunConfig
from reports.columns import COLUMNS
from reports.input import (
    BudgetSummary,
    ConfigValue,
    CorpusSummary,
    MethodConstants,
    QuestionSummary,
    ReportInput,
    SearchRange,
    SplitSummary,
    StudyDesign,
    SystemSummary,
)
from reports.measurements import LatencyRow, SpeedRow

REPORT_FILE = "report.html"


def gather(folder: Path, *, audio: bool = True) -> tuple[ReportInput, StudyComparison]:
    """The report's input for the study in `folder`, with the comparison it rests on.

    `audio` embeds the recordings of a few test utterances.

    Raises:
        UserError: no study in `folder`, or its corpus cannot be read any more.
    """
    definition, tables, looks = load(folder), read_study(folder), read_looks(folder)
    comparison = compare(definition, tables, looks)
    corpus = load_corpus(definition.corpus)
    speed = records.load(system.variant for system in definition.systems.values())
    rtf = real_time_factors(definition, speed)
    latency = records.load_latency(definition.name, definition.systems, folder.parent)
    measured = {"real_time_factor": rtf, "user_perceived_ms": user_perceived(latency)}
    known = {utterance.id: utterance.attributes for utterance in corpus.split("test")}
    groups, gains = by_every_group(comparison.system_runs, known)
    openings = openings_sentence(folder.resolve().parent, definition.data_digest)
    assumptions = (*comparison.assumptions, *filter(None, [openings]))
    report_input = ReportInput(
        study=definition.name,
        verdict=comparison.verdict,
        command=command_of(definition, find_plan(folder), load_plan(folder)),
        corpus=describe_corpus(corpus, definition),
        budget=replace(describe_budget(definition.budget), seeds=confirm_seeds(definition, looks)),
        environment=_environment(folder, definition),
        tracking_uri=store_of(folder),
        systems=comparison.systems.assign(real_time_factor=comparison.systems["system"].map(rtf)),
        pairs=comparison.pairs,
        runs=tables.runs,
        curves=tables.curves,
        utterances=tables.utterances,
        watch=tables.watch,
        samples=gather_samples(folder, corpus, tables.runs, tables.utterances) if audio else None,
        groups=groups,
        gains=gains,
        speed=speed,
        latency=latency,
        tradeoffs=tradeoffs(comparison.systems, measured),
        looks=looks,
        train_words=Counter(word for u in corpus.split("train") for word in u.text.split()),
        robustness=robustness(folder, definition, tables, comparison),
        second=second_verdict(folder, definition, tables, corpus, comparison),
        heard=heard_sentences(folder, tables),
        design=replace(
            describe_design(definition), findings=comparison.findings, assumptions=assumptions
        ),
    )
    report_input = _with_search(report_input, definition)
    return _with_settings(report_input, folder, definition), comparison


def _with_search(report_input: ReportInput, definition: StudyDefinition) -> ReportInput:
    """What the searches found, and in which spaces."""
    runs = report_input.runs
    return replace(
        report_input,
        budget_curves=budget_curves(runs),
        expected_best=expected_best_curves(runs, definition.budget.num_random_trials),
        importances=_importances(definition, runs),
        spaces={
            label: {key: search_range(d) for key, d in definition.searched(label).items()}
            for label in definition.systems
        },
        winners=winners(definition, runs),
        edges=search_edges(definition, runs),
    )


def _with_settings(
    report_input: ReportInput, folder: Path, definition: StudyDefinition
) -> ReportInput:
    """Each system's config, and the conditions of a fair comparison."""
    runs, design = report_input.runs, report_input.design
    configs = {label: _confirmed(definition, label, runs) for label in definition.systems}
    facts = {label: describe_facts(folder, definition, label, runs) for label in configs}
    return replace(
        report_input,
        configs={label: flatten(to_dict(found.config)) for label, found in configs.items()},
        values={
            label: describe_values(found, definition.searched(label))
            for label, found in configs.items()
        },
        conditions=(
            *conditions(facts, runs, report_input.budget, report_input.corpus.leakage),
            tuning_condition(definition),
            seeds_condition(design.plan, design.stamp),
        ),
        diffs=recorded_diffs(folder),
    )


def describe_design(definition: StudyDefinition) -> StudyDesign:
    """What the study compares and how, without what it found."""
    question, match = definition.question, definition.match
    return StudyDesign(
        method=MethodConstants(
            level=LEVEL,
            alpha=ALPHA,
            power=POWER,
            margin=margin_of(definition),
            num_replicates=NUM_REPLICATES,
            fewest_linearised=FEWEST_LINEARISED,
        ),
        held_equal="" if match is None else match.title,
        plan="" if definition.plan is None else plan_sentence(definition.plan),
        seeds_at_looks=() if definition.plan is None else definition.plan.looks,
        stamp=raised_sentence(definition),
        question=None
        if question is None
        else QuestionSummary(
            base=question.base,
            claim=question.claim,
            source=question.source,
            better=question.claims,
        ),
        systems={
            label: SystemSummary(
                variant=system.variant,
                settings=dict(system.settings),
                changes=tuple(definition.changes(label)),
            )
            for label, system in definition.systems.items()
        },
    )


def describe_budget(budget: Budget) -> BudgetSummary:
    """The budget as the report shows it."""
    return BudgetSummary(
        name=budget.name,
        num_trials=budget.num_trials,
        num_seeds=budget.num_seeds,
        max_train_seconds=budget.max_train_seconds,
        settings=to_dict(budget),
        rungs=rungs_clause(budget.num_trials, budget.rungs, budget.search_epochs),
    )


def search_range(dimension: Dimension) -> SearchRange:
    """A dimension of a search space as the report shows it."""
    if dimension.low is None or dimension.high is None:
        return SearchRange(choices=dimension.choices)
    return SearchRange(low=dimension.low, high=dimension.high, log=dimension.log)


def describe_corpus(corpus: Corpus, definition: StudyDefinition) -> CorpusSummary:
    """The corpus as the study uses it: without the utterances that the study excluded."""
    excluded = Counter(item.reason for item in corpus.left_out)
    if definition.excluded:
        excluded["fewer output frames than CTC needs in some system"] = len(definition.excluded)
    return CorpusSummary(
        name=corpus.name,
        digest=corpus.digest,
        notes=tuple(corpus.notes),
        leakage=dict(corpus.leakage),
        excluded=dict(excluded),
        splits=tuple(_split(corpus, split, definition) for split in SPLITS),
    )


def _split(corpus: Corpus, split: str, definition: StudyDefinition) -> SplitSummary:
    utterances = [u for u in corpus.split(split) if u.id not in definition.excluded]
    return SplitSummary(
        split=split,
        num_utterances=len(utterances),
        num_speakers=len({u.speaker for u in utterances}),
        seconds=sum(u.seconds for u in utterances),
    )


def _confirmed(definition: StudyDefinition, label: str, runs: pd.DataFrame) -> Resolved[RunConfig]:
    """The config of the confirm runs of `label`; before there is one, with the first trial's
    setting."""
    own = runs[(runs["system"] == label) & (runs["kind"] == "confirm")]
    if own.empty:
        return definition.first(label)
    return definition.confirm(label, 0, own["params"].iloc[0])


def describe_values(
    resolved: Resolved[RunConfig], searched: Mapping[str, Dimension]
) -> tuple[ConfigValue, ...]:
    """Each value of a config with its origin; the study searched the keys `searched`."""
    return tuple(
        ConfigValue(
            key=value.key,
            value=as_setting(value.value),
            layer=value.origin.layer,
            source=value.origin.source,
            searched="" if value.searched is None else str(value.searched),
        )
        for value in explained(resolved, searched)
    )


def describe_facts(
    folder: Path, definition: StudyDefinition, label: str, runs: pd.DataFrame
) -> dict[str, str]:
    """The facts of the scored confirm runs of `label`, their code included; several values, joined,
    where they differ."""
    own = runs[(runs["system"] == label) & (runs["kind"] == "confirm") & runs["test_wer"].notna()]
    folders = [folder / "runs" / run for run in own["run"]]
    code = sorted({version for run in folders if (version := _code(run))})
    facts = recorded_facts(folders, definition) if folders else {}
    return facts | ({"code": SEPARATOR.join(code)} if code else {})


def _code(run: Path) -> str:
    """The commit that `run` was made with, and a digest of changes since; "" if unknown."""
    commit = str((read_json(run / ENVIRONMENT) or {}).get("git.commit", ""))[:12]
    diff = run / DIFF
    if not (commit and diff.exists()):
        return commit
    return f"{commit} with changes {_short_digest(diff.read_text(encoding='utf-8'))}"


def recorded_diffs(folder: Path) -> dict[str, str]:
    """What the runs' trees had changed since their commits, by digest."""
    texts = {path.read_text(encoding="utf-8") for path in folder.glob(f"runs/*/*/{DIFF}")}
    return dict(sorted((_short_digest(text), text) for text in texts))


def _short_digest(text: str) -> str:
    return digest(text)[:8]


def real_time_factors(definition: StudyDefinition, speed: Iterable[SpeedRow]) -> dict[str, float]:
    """By label, the real-time factor of each system whose network bench.speed measured.

    All are from the conditions under which most systems were measured, so that they are comparable.
    """
    speed = list(speed)
    by_conditions: dict[tuple[str, float, float], dict[str, float]] = {}
    for label, system in definition.systems.items():
        pinned = {*definition.settings, *system.settings} - {WIDTH}
        if any(key.startswith(NETWORK_KEYS) for key in pinned):
            continue  # a network other than the variant at some width: not what was measured
        width = flatten(to_dict(definition.base_config(label))).get(WIDTH)
        for row in speed:
            if (row.variant, row.width) == (system.variant, width):
                by_conditions.setdefault(row.conditions, {})[label] = row.real_time_factor
    return max(by_conditions.values(), key=len, default={})


def user_perceived(latency: Iterable[LatencyRow]) -> dict[str, float]:
    """By system, the user-perceived latency in milliseconds, mean over its runs."""
    by_system: dict[str, list[float]] = {}
    for row in latency:
        if row.user_perceived_ms is not None:
            by_system.setdefault(row.system, []).append(row.user_perceived_ms)
    return {system: fmean(values) for system, values in by_system.items()}


def _importances(definition: StudyDefinition, runs: pd.DataFrame) -> pd.DataFrame:
    """See `importances`; a system with too few trials has no rows."""
    finished = runs[(runs["kind"] == "trial") & runs["state"].isin(TRAINED)]
    finished = finished[finished["valid_wer"].notna()]
    rows = []
    for label in definition.systems:
        own = finished[finished["system"] == label]
        trials = list(zip(own["params"], own["valid_wer"], strict=True))
        found = importances(definition.searched(label), trials)
        rows += [(label, key, share) for key, share in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS["importances"]))


def _environment(folder: Path, definition: StudyDefinition) -> dict[str, str]:
    """The environment that the runs recorded (the first of each value that differs is marked), and
    digests."""
    gathered: dict[str, list[str]] = {}
    for path in sorted(folder.glob(f"runs/*/*/{ENVIRONMENT}")):
        paths = (read_json(path.parent / PATHS) or {}).items()
        facts = flatten(read_json(path)) | {f"path.{name}": by for name, by in paths}
        for key, value in facts.items():
            values = gathered.setdefault(key, [])
            if str(value) not in values:
                values.append(str(value))
    digests = {
        "digest.data": definition.data_digest,
        "digest.text": definition.text_digest,
        "digest.spaces": digest({v: identity(s) for v, s in definition.spaces.items()}),
    }
    return {key: SEPARATOR.join(values) for key, values in gathered.items()} | digests
