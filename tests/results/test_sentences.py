"""What a study's verdict says, word by word: every fact once."""

from itertools import combinations
from typing import Any

import pandas as pd
import pytest

from bench.results.sentences import verdict_sentence
from reports.columns import PairColumns

WERS = {"a": 0.1, "b": 0.12, "c": 0.2, "d": 0.4}
SHOWN = "a test WER of 10.0 % (95 % interval 9.0 to 11.0, 3 seeds)"
NEAR = "(2.0 points, 97.5 % interval 1.0 to 3.0)"


def systems(names: str, *, num_seeds: int = 3) -> pd.DataFrame:
    rows = [
        {"system": name, "wer_mean": wer, "wer_low": wer - 0.01, "wer_high": wer + 0.01,
         "num_seeds": num_seeds}
        for name, wer in WERS.items() if name in names
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pairs(names: str, **verdicts: str) -> pd.DataFrame:
    """Every pair of `names` by its verdict, "<first> better" unless it is given."""
    rows: list[dict[str, Any]] = []
    for a, b in combinations(names, 2):
        delta, verdict = WERS[b] - WERS[a], verdicts.get(a + b, f"{a} better")
        remedy = {"undecided": f"9 seeds decide {a}{b}", "withheld": f"edge of {a}; edge of {b}"}
        rows.append(dict.fromkeys(PairColumns.__annotations__, 0.0) | {
            "a": a, "b": b, "delta_wer": delta, "low": delta - 0.01, "high": delta + 0.01,
            "coverage": 0.975, "margin": 0.02, "verdict": verdict, "remedy": remedy.get(verdict, ""),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(PairColumns.__annotations__))


@pytest.mark.parametrize(
    ("names", "verdicts", "said"),
    [
        ("a", {}, f"a has {SHOWN}."),
        ("ab", {}, f"a is better: it has {SHOWN}, below b {NEAR}."),
        ("abcd", {}, f"a is better: it has {SHOWN}, below b {NEAR}, c (10.0), d (30.0)."),
        ("ab", {"ab": "undecided"},
         f"Undecided: a has {SHOWN}, no significant difference from b {NEAR}: 9 seeds decide ab."),
        ("abc", {"ab": "undecided", "ac": "undecided"},
         f"Undecided: a has {SHOWN}, no significant difference from b {NEAR}, c (10.0): for b 9 "
         "seeds decide ab."),
        ("abcd", {"ab": "undecided", "ac": "equivalent"},
         f"Undecided: a has {SHOWN}, no significant difference from b {NEAR}: 9 seeds decide ab. "
         "a is equivalent within ±2.0 points to c (10.0 points, 97.5 % interval 9.0 to 11.0) and "
         "better than d (30.0 points, 97.5 % interval 29.0 to 31.0)."),
        ("abc", {"ab": "withheld", "ac": "withheld"},
         f"Withheld: a has {SHOWN}, below b {NEAR}, c (10.0), but edge of a; edge of b; edge of c."),
        ("abc", {"ab": "equivalent", "ac": "equivalent"},
         f"Equivalent: a has {SHOWN}, within ±2.0 points of b {NEAR}, c (10.0)."),
        ("ab", {"ab": "checkpoints differ"},
         f"The checkpoint of a is better: it has {SHOWN}, below b {NEAR}."),
        # An early look decided the pair the other way round: that stands.
        ("ab", {"ab": "b better"}, "b is better: it has a test WER of 12.0 % (95 % interval 11.0 to "
         "13.0, 3 seeds), below a (−2.0 points, 97.5 % interval −3.0 to −1.0)."),
    ],
)  # fmt: skip
def test_each_outcome_in_words(names: str, verdicts: dict[str, str], said: str) -> None:
    assert verdict_sentence(systems(names), pairs(names, **verdicts), ()) == said


def test_the_pair_may_stand_the_other_way_round() -> None:
    turned = pairs("ba", ba="a better")
    assert verdict_sentence(systems("ab"), turned, ()).endswith(f"below b {NEAR}.")


def test_one_seed_and_an_unknown_interval() -> None:
    one = pairs("ab").assign(low=float("nan"), high=float("nan"))
    said = verdict_sentence(systems("ab", num_seeds=1), one, ())
    assert said.endswith("9.0 to 11.0, 1 seed), below b (2.0 points).")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ((("a", "b"),), "The claim is found."),
        ((("a", "b"), ("a", "c")), "All 2 claims are found."),
        ((("b", "a"),), "0 of 1 claims found; not found: b below a (contradicted)."),
        ((("a", "b"), ("b", "c"), ("a", "d")),
         "1 of 3 claims found; not found: b below c (undecided), a below d (not compared yet)."),
    ],
)  # fmt: skip
def test_what_became_of_the_claims(claims: tuple[tuple[str, str], ...], said: str) -> None:
    found = verdict_sentence(systems("abc"), pairs("abc", bc="undecided"), claims)
    assert found.endswith(f"). {said}")
