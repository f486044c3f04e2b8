"""Per speaker: error rates of each system, and a sign test of whether a gain holds for most."""

import math
from dataclasses import dataclass

import pandas as pd

from reports.columns import word_errors
from reports.input import ReportInput
from reports.palette import system_names
from reports.scale import Scale, scale_of
from reports.sections.verdict import baseline_of

TITLE = "Per speaker"

MAX_SHOWN = 30
"""More speakers than these fold away, the hardest first."""


@dataclass(frozen=True)
class SpeakerRow:
    """One speaker; WERs, means over seeds, in the order of the systems; NaN if not scored."""

    speaker: str
    num_utterances: int
    num_words: int
    wers: tuple[float, ...]


@dataclass(frozen=True)
class SignRow:
    """On how many speakers a system makes fewer errors than the baseline, and more."""

    system: str
    num_better: int
    num_worse: int
    p: float
    """Of the exact two-sided sign test, ties left out."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    systems: tuple[str, ...]
    speakers: tuple[SpeakerRow, ...]
    """From the hardest to the easiest, by the mean over systems."""
    scale: Scale | None
    baseline: str
    signs: tuple[SignRow, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """The error rate of every system on every test speaker."""
    scored = report_input.utterances
    names = [name for name in system_names(report_input) if name in set(scored["system"])]
    speakers = _speakers(scored, names)
    values = [wer for row in speakers for wer in row.wers if not math.isnan(wer)]
    baseline = baseline_of(report_input)
    return Numbers(
        systems=tuple(names),
        speakers=speakers,
        scale=scale_of([0.0, *values]) if values else None,
        baseline=baseline,
        signs=tuple(
            _sign(name, names, speakers, baseline)
            for name in names
            if baseline in names and name != baseline
        ),
    )


def extras(numbers: Numbers) -> dict[str, object]:
    """What the template needs beside `numbers`."""
    shown, rest = numbers.speakers[:MAX_SHOWN], numbers.speakers[MAX_SHOWN:]
    return {"parts": [shown, rest]}


def _speakers(scored: pd.DataFrame, names: list[str]) -> tuple[SpeakerRow, ...]:
    if scored.empty:
        return ()
    counted = scored.assign(errors=word_errors(scored))
    grouped = counted.groupby(["speaker", "system", "run"], sort=True)
    sums = grouped[["errors", "num_ref_words"]].sum()
    # Each run's rate on a speaker, then their mean; words and utterances are the same in every run,
    # and count once.
    rates = (sums["errors"] / sums["num_ref_words"]).groupby(["speaker", "system"]).mean()
    table = rates.unstack("system").reindex(columns=names)
    once = scored.drop_duplicates(["speaker", "id"]).groupby("speaker")["num_ref_words"]
    sizes = once.agg(["size", "sum"])
    rows = [
        SpeakerRow(
            speaker=str(speaker),
            num_utterances=int(sizes.loc[speaker, "size"]),
            num_words=int(sizes.loc[speaker, "sum"]),
            wers=tuple(float(wer) for wer in wers),
        )
        for speaker, wers in zip(table.index, table.to_numpy(), strict=True)
    ]
    order = table.mean(axis=1).to_numpy()
    ranked = sorted(zip(order, rows, strict=True), key=lambda pair: (-pair[0], pair[1].speaker))
    return tuple(row for _, row in ranked)


def _sign(name: str, names: list[str], speakers: tuple[SpeakerRow, ...], baseline: str) -> SignRow:
    own, base = names.index(name), names.index(baseline)
    pairs = [(row.wers[own], row.wers[base]) for row in speakers]
    better = sum(wer < other for wer, other in pairs)
    worse = sum(wer > other for wer, other in pairs)
    return SignRow(name, better, worse, sign_test(better, worse))


def sign_test(num_better: int, num_worse: int) -> float:
    """Exact two-sided p that both are as likely (Conover, Practical Nonparametric Statistics,
    section 3.4); NaN without a difference."""
    size = num_better + num_worse
    if not size:
        return math.nan
    tail = sum(math.comb(size, k) for k in range(min(num_better, num_worse) + 1))
    return float(min(1.0, 2 * tail / 2**size))
