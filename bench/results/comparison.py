"""From the recorded runs of a study to what its report shows: one row a variant, one row a pair,
one sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.results.pairs import (
    NOT_SEPARATED,
    Outcome,
    compare_pairs,
    counts_by_speaker,
    summarise,
)
from bench.results.power_law import fit_power_law
from bench.results.tradeoffs import pareto_set
from bench.study.definition import StudyDefinition
from bench.study.question import System
from bench.tracking import Tables
from variants import VARIANTS

SHARE = "batches.train_share"
SOURCES = ("se_from_seeds", "se_from_test_set", "se_from_interaction", "se_from_search")
"""Parts of the standard error of a mean WER, see `summarise`."""


@dataclass(frozen=True)
class Comparison:
    """The numbers of a study's verdict; columns as reports.input.COLUMNS states them."""

    variants: pd.DataFrame
    pairs: pd.DataFrame
    verdict: str
    findings: tuple[tuple[str, str], ...]
    """What else the study's question was about, and what was found."""


def compare(definition: StudyDefinition, tables: Tables) -> Comparison:
    """Compare the confirm runs of every variant, on the utterances that all of them scored."""
    outcomes = _outcomes(definition, tables.utterances)
    rng = numpy_generator(definition.seed, "bootstrap")
    scored = summarise(outcomes, rng).set_index("name")
    rows = [
        _variant_row(label, system, tables.runs, scored)
        for label, system in definition.systems.items()
    ]
    variants, pairs = pd.DataFrame(rows), compare_pairs(outcomes, rng)
    # Never true of a variant without a WER: NaN is not as good as anything, nor is it beaten.
    costs = variants[["wer_mean", "macs_per_second_of_audio"]].to_numpy(dtype=np.float64)
    variants["unbeaten"] = pareto_set(costs) & np.isfinite(costs).all(axis=1)
    findings = tuple(_data_scale(definition, outcomes, rng))
    return Comparison(variants, pairs, _verdict(variants, pairs), findings)


def _data_scale(
    definition: StudyDefinition, outcomes: Sequence[Outcome], rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """How the WER falls with the data, where the amount of it is all that systems differ in."""
    changed = {key for label in definition.systems for key in definition.changes(label)}
    if changed != {SHARE} or len(outcomes) < 3:
        return
    shares_N = [definition.base_config(outcome.name).batches.train_share for outcome in outcomes]
    errors, words_C = counts_by_speaker(outcomes)
    law = fit_power_law(np.array(shares_N), errors, words_C, rng)
    yield (
        "WER against the amount of data",
        f"WER = {_percent(law.scale)} × share^−{law.exponent:.2f} (95 % {law.low:.2f} to "
        f"{law.high:.2f}): twice the data, {100 * (1 - law.factor_by_doubling):.0f} % fewer errors",
    )


def _outcomes(definition: StudyDefinition, utterances: pd.DataFrame) -> list[Outcome]:
    """The systems with scored confirm runs, utterances in one order."""
    by_system = dict(list(utterances.sort_values(["run", "id"]).groupby("variant")))
    return [
        Outcome(name=label, runs=tuple(run for _, run in by_system[label].groupby("run")))
        for label in definition.systems
        if label in by_system
    ]


def _variant_row(
    variant: str,
    system: System,
    runs: pd.DataFrame,
    outcomes: pd.DataFrame,
) -> dict[str, Any]:
    own = runs[runs["variant"] == variant]
    trials, confirms = own[own["kind"] == "trial"], own[own["kind"] == "confirm"]
    scored = confirms[confirms["test_wer"].notna()]
    row: dict[str, Any] = {
        "variant": variant,
        "summary": system.summary(),
        "source": VARIANTS[system.variant].source,
        "wer_mean": np.nan,
        "wer_low": np.nan,
        "wer_high": np.nan,
        **dict.fromkeys(SOURCES, np.nan),
        "cer_mean": scored["test_cer"].mean(),
        "train_seconds": scored["train_seconds"].mean(),
        "search_seconds": trials["train_seconds"].sum(),
        "num_trials": len(trials),
        "num_seeds": len(scored),
    }
    for column in (
        "num_parameters",
        "macs_per_second_of_audio",
        "audio_seconds_per_second",
        "peak_memory_bytes",
    ):
        row[column] = scored[column].mean()
    for state in ("finished", "cut", "pruned", "diverged", "failed"):
        row[f"num_{state}"] = int((trials["state"] == state).sum())
    if variant in outcomes.index:
        found = outcomes.loc[variant]
        row |= {"wer_mean": found["wer"], "wer_low": found["low"], "wer_high": found["high"]}
        row |= {column: found[column] for column in SOURCES}
    return row


def _verdict(variants: pd.DataFrame, pairs: pd.DataFrame) -> str:
    scored = variants[variants["wer_mean"].notna()].sort_values("wer_mean", kind="stable")
    if scored.empty:
        return "No variant has a finished confirm run, so nothing can be said yet."
    best = scored.iloc[0]
    shown = (
        f"{best['variant']} has a test WER of {_percent(best['wer_mean'])} "
        f"(95 % interval {_percent(best['wer_low'])} to {_percent(best['wer_high'])}, "
        f"{best['num_seeds']:.0f} seeds)"
    )
    silent = [v for v in variants["variant"] if v not in set(scored["variant"])]
    absent = f" No finished confirm run: {', '.join(silent)}." if silent else ""
    if len(scored) == 1:
        return f"{shown}.{absent}"
    rivals = pairs[(pairs["a"] == best["variant"]) | (pairs["b"] == best["variant"])]
    open_rivals = rivals[rivals["verdict"] == NOT_SEPARATED]
    if not open_rivals.empty:
        names = [r["b"] if r["a"] == best["variant"] else r["a"] for _, r in open_rivals.iterrows()]
        gap = open_rivals["smallest_gap"].max()
        return (
            f"Not separated: {shown}, and the data do not tell it from {', '.join(names)}; "
            f"a difference below about {100 * gap:.1f} points could not have been seen.{absent}"
        )
    closest = rivals.loc[rivals["delta_wer"].abs().idxmin()]
    low, high = sorted((abs(closest["low"]), abs(closest["high"])))
    other = closest["b"] if closest["a"] == best["variant"] else closest["a"]
    return (
        f"{best['variant']} is better: {shown}, "
        f"{100 * abs(closest['delta_wer']):.1f} points below {other} "
        f"(interval {100 * low:.1f} to {100 * high:.1f}).{absent}"
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"
