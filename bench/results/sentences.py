"""The verdicts on a study and on its pairs, in words."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from reports.columns import PairColumns, answer, rows_of, seen_from
from reports.format import bare_percent, interval, p_value, points

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
        f"{what} with 80 % power if the true difference is the one seen; as it is, that takes a "
        f"difference of about {effect} points"
    )


def verdict_sentence(
    systems: pd.DataFrame, pairs: pd.DataFrame, claims: Collection[tuple[str, str]]
) -> str:
    """A study in words, each fact once: its best system against every other one, what became of the
    claims, and which systems have no run. Tables as in StudyComparison; of each claim the first
    system was to have the lower WER."""
    compared = rows_of(pairs, PairColumns)
    scored = systems[systems["wer_mean"].notna()].sort_values("wer_mean", kind="stable")
    if scored.empty:
        return "No system has a finished confirm run, so nothing can be said yet."
    name = _best(list(scored["system"]), compared)
    (best,) = scored[scored["system"] == name].to_dict("records")
    num_seeds = round(best["num_seeds"])
    headline, clauses = _against_others(name, compared)
    # "gru is better: it has …", but "Undecided: gru has …".
    subject = "it" if headline.endswith("is better: ") else name
    said = (
        f"{headline}{subject} has a test WER of {bare_percent(best['wer_mean'])} % (95 % interval "
        f"{interval(best['wer_low'], best['wer_high'])}, {num_seeds} seed{'s' * (num_seeds > 1)})"
    )
    sentence = ", ".join((said, *clauses[:1])) + "."
    others = f"{name} is {' and '.join(clauses[1:])}." if clauses[1:] else ""
    silent = list(systems["system"][systems["wer_mean"].isna()])
    absent = f"No finished confirm run: {', '.join(silent)}." if silent else ""
    return " ".join(filter(None, (sentence, others, _claimed(compared, claims), absent)))


def _best(names: Sequence[str], pairs: Iterable[PairColumns]) -> str:
    """The first of `names`, in the order of their WERs, to which no other is better.

    A pair that an early look decided keeps that verdict, though later runs may change the order of
    the mean WERs.
    """
    lost = {
        row["b"] if row["verdict"] == f"{row['a']} better" else row["a"]
        for row in pairs
        if row["verdict"].endswith(" better")
    }
    return next((name for name in names if name not in lost), names[0])


def _against_others(name: str, pairs: Iterable[PairColumns]) -> tuple[str, list[str]]:
    """How the sentence begins, and a clause for each kind of verdict on `name`, undecided first.

    "Undecided: "     no significant difference from b (…): …
    "Withheld: "      below b (…), but …
    "Equivalent: "    within ±2.0 points of b (…), c (…) | better than d (…)
    "a is better: "   below b (…), c (…)
    """
    beside = sorted(
        (row for row in pairs if name in (row["a"], row["b"])),
        key=lambda row: abs(row["delta_wer"]),
    )
    undecided = [row for row in beside if row["verdict"] == UNDECIDED]
    withheld = [row for row in beside if row["verdict"] == WITHHELD]
    alike = [row for row in beside if row["verdict"] in (EQUIVALENT, CHECKPOINTS_EQUIVALENT)]
    worse = [row for row in beside if differ(row["verdict"])]
    headline, clauses = "", []
    if undecided:
        headline = "Undecided: "
        nearest = undecided[0]
        which = f"for {_other(nearest, name)} " if len(undecided) > 1 else ""
        others = _others(undecided, name)
        clauses.append(f"no significant difference from {others}: {which}{nearest['remedy']}")
    if withheld:
        headline = headline or "Withheld: "
        # A remedy is "edge of a; edge of b", and an edge of `name` is in every one.
        edges = dict.fromkeys(edge for row in withheld for edge in row["remedy"].split("; "))
        clauses.append(f"below {_others(withheld, name)}, but {'; '.join(edges)}")
    if alike:
        within = f"within ±{100 * alike[0]['margin']:.1f} points"
        words = f"equivalent {within} to" if headline else f"{within} of"
        headline = headline or "Equivalent: "
        clauses.append(f"{words} {_others(alike, name)}")
    if worse:
        words = "better than" if headline else "below"
        who = f"The checkpoint of {name}" if worse[0]["verdict"] == CHECKPOINTS_DIFFER else name
        headline = headline or f"{who} is better: "
        clauses.append(f"{words} {_others(worse, name)}")
    return headline, clauses


def _others(rows: Sequence[PairColumns], name: str) -> str:
    """ "b (9.1 points, 95 % interval 7.3 to 10.9), c (29.2)": WERs minus that of `name`."""
    told: list[str] = []
    for row in rows:
        # The interval is told of the nearest alone, which is the one in doubt.
        delta, low, high = seen_from(row, name)
        gap = _unsigned(delta)
        if not told:
            gap += " points"
            if not math.isnan(low):
                gap += f", {_level(row)} interval {interval(low, high, _unsigned)}"
        told.append(f"{_other(row, name)} ({gap})")
    return ", ".join(told)


def _other(row: PairColumns, name: str) -> str:
    return row["b"] if row["a"] == name else row["a"]


def _unsigned(difference: float) -> str:
    return points(difference).removeprefix("+")


def _level(pair: PairColumns) -> str:
    """0.95 as "95 %", 0.98333 as "98.3 %"."""
    return f"{100 * pair['coverage']:.3g} %"


def _claimed(pairs: Sequence[PairColumns], claims: Collection[tuple[str, str]]) -> str:
    """How many of the claims were found, and the verdicts on the others."""
    answers = {f"{better} below {worse}": answer(pairs, better, worse) for better, worse in claims}
    others = [f"{claim} ({said})" for claim, said in answers.items() if said != "found"]
    if not claims:
        return ""
    if others:
        found = len(claims) - len(others)
        return f"{found} of {len(claims)} claims found; not found: {', '.join(others)}."
    return "The claim is found." if len(claims) == 1 else f"All {len(claims)} claims are found."


def sentence_of(pair: PairColumns) -> str:
    """The verdict on a pair, with its interval."""
    verdict = pair["verdict"]
    found = f"{pair['b']} has {points(pair['delta_wer'])} points of WER against {pair['a']}"
    if not math.isnan(pair["low"]):
        found += (
            f" ({_level(pair)} interval {interval(pair['low'], pair['high'], points)}, adjusted p "
            f"{p_value(pair['p_adjusted'])})"
        )
    if verdict in (CHECKPOINTS_DIFFER, CHECKPOINTS_EQUIVALENT):
        found += "; whether their recipes differ is unknown (one run each)"
    if verdict in (UNDECIDED, WITHHELD):
        found += f"; {pair['remedy']}"
    if verdict in (EQUIVALENT, CHECKPOINTS_EQUIVALENT):
        verdict += f" within ±{100 * pair['margin']:.1f} points"
    # "undecided" begins a sentence; the name in "<name> better" keeps its case.
    return f"{verdict if verdict.endswith(' better') else verdict.capitalize()}: {found}."


def who_is_better(a: str, b: str, delta_wer: float, narrow: Collection[str]) -> str:
    """The word for a pair that differs, on every page: "<name> better", or withheld if the searched
    ranges of one were too `narrow`. `delta_wer` is WER of `b` minus WER of `a`."""
    if a in narrow or b in narrow:
        return WITHHELD
    return f"{a if delta_wer > 0 else b} better"


def differ(verdict: str) -> bool:
    """True if the verdict is that two systems, or their checkpoints, differ."""
    return verdict not in (UNDECIDED, WITHHELD, EQUIVALENT, CHECKPOINTS_EQUIVALENT)
