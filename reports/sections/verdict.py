"""Who wins, by how much, at what cost: one sentence and its tables. Reads without JavaScript."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.format import is_missing, plural, text
from reports.input import ReportInput
from reports.markup import render
from reports.palette import variant_names
from reports.scale import Estimate, Scale, scale_of

TITLE = "Verdict"

FEW_SEEDS = 3


@dataclass(frozen=True)
class VariantRow:
    """One variant: accuracy with its interval, and cost. Rates are fractions; unknown is NaN."""

    variant: str
    tone: int
    summary: str
    wer: Estimate
    cer: float
    num_parameters: float
    macs_per_second_of_audio: float
    audio_seconds_per_second: float
    train_seconds: float
    search_seconds: float
    num_trials: int
    num_seeds: int


@dataclass(frozen=True)
class PairRow:
    """WER of `b` minus WER of `a`: above zero, `a` is better."""

    a: str
    b: str
    tone_a: int
    tone_b: int
    difference: Estimate
    p_adjusted: float
    probability_of_improvement: float
    """That a random seed of `a` makes fewer errors than one of `b`."""
    verdict: str


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    sentence: str
    cautions: tuple[str, ...]
    """What keeps the sentence from being the whole truth."""
    variants: tuple[VariantRow, ...]
    scale: Scale | None
    pairs: tuple[PairRow, ...]
    pair_scale: Scale | None


def numbers(report_input: ReportInput) -> Numbers:
    """The verdict, its tables, and the axes of their drawings."""
    tones = {name: tone for tone, name in enumerate(variant_names(report_input))}
    variants = tuple(
        _variant_row(row, tones[str(row["variant"])], report_input.runs)
        for _, row in report_input.variants.iterrows()
    )
    pairs = tuple(
        PairRow(
            a=row["a"],
            b=row["b"],
            tone_a=tones[row["a"]],
            tone_b=tones[row["b"]],
            difference=Estimate(row["delta_wer"], row["low"], row["high"]),
            p_adjusted=row["p_adjusted"],
            probability_of_improvement=row["probability_of_improvement"],
            verdict=row["verdict"],
        )
        for _, row in report_input.pairs.iterrows()
    )
    differences = [value for pair in pairs for value in pair.difference.values()]
    return Numbers(
        sentence=report_input.verdict,
        cautions=cautions(report_input),
        variants=variants,
        scale=scale_of(value for row in variants for value in row.wer.values()),
        pairs=pairs,
        # Zero, no difference, is on the axis whatever was measured.
        pair_scale=scale_of([0.0, *differences]) if differences else None,
    )


def cautions(report_input: ReportInput) -> tuple[str, ...]:
    """In words: what is missing from the study, or failed in it."""
    runs, found = report_input.runs, []
    if runs.empty:
        return ("No run has been recorded yet: the study is empty.",)
    states = set(runs["state"])
    if len(states) == 1 and states <= {"failed", "diverged", "killed"}:
        found.append(f"Every run of the study {_ended(states.pop())}: nothing can be compared.")
    elif len(runs) == 1:
        found.append("The study holds a single run so far.")
    if going := int((runs["state"] == "running").sum()):
        found.append(
            f"{plural(going, 'run has', 'runs have')} not ended: the figures may still change."
        )
    scored = runs[(runs["kind"] == "confirm") & runs["test_wer"].notna()]
    if scored.empty:
        found.append("No confirm run has been scored on the test split.")
    seeds = scored.groupby("variant")["seed"].nunique()
    if len(seeds) and seeds.min() < FEW_SEEDS:
        fewest = plural(int(seeds.min()), "seed")
        found.append(f"An interval here rests on {fewest} only; take it as a first look.")
    if len(variant_names(report_input)) == 1:
        found.append("There is one variant, so there is nothing to compare it with.")
    return tuple(found)


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/verdict.html", numbers=numbers)


def _ended(state: str) -> str:
    return {"failed": "failed", "diverged": "diverged", "killed": "was killed"}[state]


def _variant_row(row: "pd.Series[Any]", tone: int, runs: pd.DataFrame) -> VariantRow:
    own = runs[(runs["variant"] == row["variant"]) & (runs["kind"] == "confirm")]
    singles = tuple(own.sort_values("slot")["test_wer"].dropna().astype(float))
    return VariantRow(
        variant=str(row["variant"]),
        tone=tone,
        summary=". ".join(part for part in (text(row["summary"]), text(row["source"])) if part),
        wer=Estimate(row["wer_mean"], row["wer_low"], row["wer_high"], singles),
        cer=row["cer_mean"],
        num_parameters=row["num_parameters"],
        macs_per_second_of_audio=row["macs_per_second_of_audio"],
        audio_seconds_per_second=row["audio_seconds_per_second"],
        train_seconds=row["train_seconds"],
        search_seconds=row["search_seconds"],
        num_trials=0 if is_missing(row["num_trials"]) else int(row["num_trials"]),
        num_seeds=0 if is_missing(row["num_seeds"]) else int(row["num_seeds"]),
    )
