"""From the recorded runs of a study to what its report shows: one row a variant, one row a pair,
one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.results.statistics import Difference, Floats, difference, holm, rate_interval
from bench.study.definition import StudyDefinition
from bench.study.question import System
from bench.tracking import Tables
from variants import VARIANTS

ALPHA = 0.05
NOT_SEPARATED = "not separated"


@dataclass(frozen=True)
class Comparison:
    """The numbers of a study's verdict; columns as reports.input.COLUMNS states them."""

    variants: pd.DataFrame
    pairs: pd.DataFrame
    verdict: str


def compare(definition: StudyDefinition, tables: Tables) -> Comparison:
    """Compare the confirm runs of every variant, on the utterances that all of them scored."""
    words_C, errors = _cluster_counts(definition, tables.utterances)
    rng = numpy_generator(definition.seed, "bootstrap")
    rows = [
        _variant_row(label, system, tables.runs, errors.get(label), words_C, rng)
        for label, system in definition.systems.items()
    ]
    differences = {
        (a, b): difference(errors[a], errors[b], words_C, rng)
        for a, b in combinations([v for v in definition.systems if v in errors], 2)
    }
    variants, pairs = pd.DataFrame(rows), _pair_table(differences)
    return Comparison(variants, pairs, _verdict(variants, pairs, differences))


def _cluster_counts(
    definition: StudyDefinition, utterances: pd.DataFrame
) -> tuple[Floats, dict[str, Floats]]:
    """Reference words per speaker [C], and word errors per seed and speaker [S, C] of each
    variant."""
    words_C: Floats = np.zeros(0)
    errors: dict[str, Floats] = {}
    counts = utterances.assign(
        errors=utterances["substitutions"] + utterances["deletions"] + utterances["insertions"]
    )
    for variant in definition.systems:
        own = counts[counts["variant"] == variant]
        if own.empty:
            continue
        table = own.pivot_table(index="run", columns="speaker", values="errors", aggfunc="sum")
        words = own[own["run"] == own["run"].iloc[0]].groupby("speaker")["num_ref_words"].sum()
        assert words_C.size in (0, words.size), "every run scores the same utterances"
        words_C = words.sort_index().to_numpy(dtype=np.float64)
        errors[variant] = table.sort_index(axis=1).to_numpy(dtype=np.float64)
    return words_C, errors


def _variant_row(
    variant: str,
    system: System,
    runs: pd.DataFrame,
    errors_SC: Floats | None,
    words_C: Floats,
    rng: np.random.Generator,
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
        "cer_mean": scored["test_cer"].mean(),
        "train_seconds": scored["train_seconds"].mean(),
        "search_seconds": trials["train_seconds"].sum(),
        "num_trials": len(trials),
        "num_seeds": len(scored),
    }
    for column in ("num_parameters", "macs_per_second_of_audio", "audio_seconds_per_second"):
        row[column] = scored[column].mean()
    for state in ("finished", "pruned", "diverged", "failed"):
        row[f"num_{state}"] = int((trials["state"] == state).sum())
    if errors_SC is not None:
        interval = rate_interval(errors_SC, words_C, rng)
        row |= {"wer_mean": interval.mean, "wer_low": interval.low, "wer_high": interval.high}
    return row


def _pair_table(differences: Mapping[tuple[str, str], Difference]) -> pd.DataFrame:
    adjusted = holm([d.p for d in differences.values()])
    rows = []
    for ((a, b), found), p in zip(differences.items(), adjusted, strict=True):
        interval = found.interval
        separated = p < ALPHA and not interval.low <= 0 <= interval.high
        better = a if interval.mean < 0 else b
        rows.append(
            {
                "a": a,
                "b": b,
                "delta_wer": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "p_adjusted": p,
                "verdict": f"{better} better" if separated else NOT_SEPARATED,
            }
        )
    columns = ["a", "b", "delta_wer", "low", "high", "p_adjusted", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(
    variants: pd.DataFrame,
    pairs: pd.DataFrame,
    differences: Mapping[tuple[str, str], Difference],
) -> str:
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
        gap = max(differences[(r["a"], r["b"])].smallest_gap for _, r in open_rivals.iterrows())
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
