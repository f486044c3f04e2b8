"""The comparison of a study's systems: one row per system, one row per pair, and the verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.results.confirmed import confirm_runs
from bench.results.counts import SystemRuns
from bench.results.looks import PlannedLooks, judged, margin_of
from bench.results.pairs import RateColumns, assumptions, counts_by_speaker
from bench.results.sentences import verdict_sentence
from bench.results.tradeoffs import pareto_set
from bench.results.tuning import bought_by_tuning
from bench.runs import Tables
from bench.stats.power_law import fit_power_law
from bench.study.definition import StudyDefinition
from bench.study.question import System
from reports.columns import rows_of
from reports.format import bare_percent
from reports.looks import Look
from variants import VARIANTS

SHARE = "batches.train_share"
SOURCES = ("se_from_seeds", "se_from_test_set", "se_from_interaction")
"""Components of the standard error of a mean WER, see `summarise`."""


@dataclass(frozen=True)
class StudyComparison:
    """The numbers of a study's verdict; columns as reports.columns.COLUMNS states them."""

    systems: pd.DataFrame
    pairs: pd.DataFrame
    verdict: str
    findings: tuple[tuple[str, str], ...]
    """Further results for the study's question: (title, sentence)."""
    assumptions: tuple[str, ...]
    """Assumptions behind the verdicts, a sentence each."""
    system_runs: tuple[SystemRuns, ...]
    """The runs compared, by system."""


def compare(
    definition: StudyDefinition, tables: Tables, looks: Sequence[Look] = ()
) -> StudyComparison:
    """Compare the confirm runs of every system, on the utterances that all of them scored; in a
    study with a plan pairs are decided by its `looks` alone."""
    system_runs, absent = confirm_runs(definition, tables)
    question = definition.question
    claims = question.claims if question else ()
    rng = numpy_generator(definition.seed, "bootstrap")
    planned = PlannedLooks.of(definition, looks)
    rates, pairs = judged(system_runs, rng, claims, margin_of(definition), planned)
    scored = {row["name"]: row for row in rows_of(rates, RateColumns)}
    rows = [
        _system_row(label, system, tables.runs, scored.get(label))
        for label, system in definition.systems.items()
    ]
    systems = pd.DataFrame(rows)
    # A comparison with NaN is false, so pareto_set alone would count a system without a WER as
    # Pareto-optimal.
    costs = systems[["wer_mean", "macs_per_second_of_audio"]].to_numpy(dtype=np.float64)
    systems["pareto_optimal"] = pareto_set(costs) & np.isfinite(costs).all(axis=1)
    findings = (
        *_data_scale(definition, system_runs, rng),
        *bought_by_tuning(definition, systems, pairs),
    )
    return StudyComparison(
        systems=systems,
        pairs=pairs,
        verdict=verdict_sentence(systems, pairs, claims),
        findings=findings,
        assumptions=(
            *absent,
            *assumptions(system_runs),
            *([planned.sentence] if planned is not None else []),
        ),
        system_runs=tuple(system_runs),
    )


def _data_scale(
    definition: StudyDefinition, system_runs: Sequence[SystemRuns], rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """The power law of WER against the amount of data, if systems differ in that only."""
    changed = {key for label in definition.systems for key in definition.changes(label)}
    if changed != {SHARE} or len(system_runs) < 3:
        return
    shares_N = [definition.base_config(system.name).batches.train_share for system in system_runs]
    errors, words_C = counts_by_speaker(system_runs)
    law = fit_power_law(np.array(shares_N), errors, words_C, rng)
    yield (
        "WER against the amount of data",
        f"WER = {bare_percent(law.scale)} % × share^−{law.exponent:.2f} (95 % {law.low:.2f} to "
        f"{law.high:.2f}): twice the data, {100 * (1 - law.factor_by_doubling):.0f} % fewer errors",
    )


def _system_row(
    label: str,
    system: System,
    runs: pd.DataFrame,
    scored: RateColumns | None,
) -> dict[str, object]:
    own = runs[runs["system"] == label]
    trials, confirms = own[own["kind"] == "trial"], own[own["kind"] == "confirm"]
    tested = confirms[confirms["test_wer"].notna()]
    row: dict[str, object] = {
        "system": label,
        "summary": system.summary(),
        "source": VARIANTS[system.variant].source,
        "wer_mean": np.nan,
        "wer_low": np.nan,
        "wer_high": np.nan,
        **dict.fromkeys(SOURCES, np.nan),
        "cer_mean": tested["test_cer"].mean(),
        "train_seconds": tested["train_seconds"].mean(),
        "search_seconds": trials["train_seconds"].sum(),
        "num_trials": len(trials),
        "num_seeds": len(tested),
    }
    for column in (
        "num_parameters",
        "macs_per_second_of_audio",
        "audio_seconds_per_second",
        "peak_memory_bytes",
    ):
        row[column] = tested[column].mean()
    for state in ("finished", "cut", "pruned", "diverged", "failed"):
        row[f"num_{state}"] = int((trials["state"] == state).sum())
    if scored is not None:
        row |= {"wer_mean": scored["wer"], "wer_low": scored["low"], "wer_high": scored["high"]}
        row |= {key: value for key, value in scored.items() if key in (*SOURCES, "num_seeds")}
    return row
