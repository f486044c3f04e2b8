"""Sentences on a pair of systems, and the format of its numbers."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from reports.columns import PairColumns
from reports.format import MISSING, bare_percent, points

UNDECIDED = "undecided"
EQUIVALENT = "equivalent"
CHECKPOINTS_DIFFER = "checkpoints differ"
CHECKPOINTS_EQUIVALENT = "checkpoints equivalent"
WITHHELD = "withheld"
"""Verdicts, beside "<name> better". Those on checkpoints are about single runs. Withheld is a
"better" of a system whose searched range was too narrow (bench.study.edges)."""


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """What is known of an undecided pair; NaN for what is not."""

    p: float
    seeds_needed: float
    speakers_needed: float
    minimum_detectable_effect: float


def remedy_of(pair: Undecided) -> str:
    """What would decide an undecided pair, in words."""
    if math.isnan(pair.p):
        return "the variance of the difference is unknown, since no test speaker or seed varies"
    seeds, speakers = pair.seeds_needed, pair.speakers_needed
    if not math.isnan(seeds):
        what = f"{seeds:.0f} seeds a system would decide it"
    elif not math.isnan(speakers):
        what = (
            "no number of seeds would decide it, since test speakers are the limit: "
            f"{speakers:,.0f} of them would"
        )
    else:
        what = "neither more seeds nor more test speakers alone would decide it"
    effect = bare_percent(pair.minimum_detectable_effect)
    return (
        f"{what} with 80 % power if the true difference is the one seen; as it is, 80 % power "
        f"needs a difference of about {effect} points"
    )


def sentence_of(pair: PairColumns) -> str:
    """The verdict on a pair, with its interval."""
    a, b, verdict = pair["a"], pair["b"], pair["verdict"]
    found = f"{b} has {points(pair['delta_wer'])} points of WER against {a}"
    if not math.isnan(pair["low"]):
        found += (
            f" ({bare_percent(pair['coverage'])} % interval "
            f"{interval(pair['low'], pair['high'], points)}, adjusted p "
            f"{p_value(pair['p_adjusted'])})"
        )
    within = f"equivalent within ±{100 * pair['margin']:.1f} points"
    unknown = "whether their recipes differ is unknown (one run each)"
    if verdict == UNDECIDED:
        return f"{a}, {b} undecided: {found}; {pair['remedy']}."
    if verdict == WITHHELD:
        return f"{a}, {b} withheld: {found}; {pair['remedy']}."
    if verdict == EQUIVALENT:
        return f"{a}, {b} {within}: {found}."
    if verdict == CHECKPOINTS_DIFFER:
        return f"{a}, {b}: these checkpoints differ: {found}; {unknown}."
    if verdict == CHECKPOINTS_EQUIVALENT:
        return f"{a}, {b}: these checkpoints are {within}: {found}; {unknown}."
    return f"{verdict}: {found}."


def who_is_better(a: str, b: str, delta_wer: float, narrow: Collection[str]) -> str:
    """The word for a pair that differs, on every page: "<name> better", or withheld.

    Args:
        a: a system.
        b: another.
        delta_wer: WER of `b` minus WER of `a`.
        narrow: systems whose searched ranges were too narrow.
    """
    if a in narrow or b in narrow:
        return WITHHELD
    return f"{a if delta_wer > 0 else b} better"


def differ(verdict: str) -> bool:
    """True if the verdict is that two systems, or their checkpoints, differ."""
    return verdict not in (UNDECIDED, WITHHELD, EQUIVALENT, CHECKPOINTS_EQUIVALENT)


def known(value: float, form: str) -> str:
    """A dash for NaN."""
    return MISSING if math.isnan(value) else form.format(value)


def p_value(p: float) -> str:
    """0.00012 as "<0.001"."""
    return known(p, "{:.3f}") if not p < 0.001 else "<0.001"


def interval(low: float, high: float, form: Callable[[float], str] = bare_percent) -> str:
    """Both ends of an interval, or "unknown"."""
    return "unknown" if math.isnan(low) else f"{form(low)} to {form(high)}"
