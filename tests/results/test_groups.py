"""Groups of utterances: how they are made, and what is said of them."""

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.results.groups import (
    GAIN_COLUMNS,
    GROUP_COLUMNS,
    by_every_group,
    by_group,
    known_attributes,
)
from bench.results.pairs import SystemRuns

SPEAKERS, PER_SPEAKER = 16, 10
GENDER = {f"u{s:02}-{u}": {"gender": "f" if s < 7 else "m", "age": str(5 + s)} for s in range(SPEAKERS) for u in range(PER_SPEAKER)}  # fmt: skip


def made(name: str, female: float, male: float, seed: int) -> SystemRuns:
    rng, runs = np.random.default_rng(seed), []
    for _ in range(3):
        rows = []
        for s in range(SPEAKERS):
            for u in range(PER_SPEAKER):
                words = 4 + u
                wrong = int(rng.binomial(words, female if s < 7 else male))
                rows.append(
                    {"id": f"u{s:02}-{u}", "speaker": f"s{s:02}", "num_ref_words": words,
                     "substitutions": wrong, "deletions": 0, "insertions": 0, "ref": "a", "hyp": "a"}
                )  # fmt: skip
        runs.append(pd.DataFrame(rows))
    return SystemRuns(name=name, runs=tuple(runs))


@pytest.fixture
def outcomes() -> list[SystemRuns]:
    return [made("fair", 0.2, 0.2, 0), made("unfair", 0.4, 0.2, 1)]


def test_a_gain_that_is_another_for_one_gender_is_found(outcomes: list[SystemRuns]) -> None:
    groups, gains = by_group(outcomes, GENDER, "gender")
    assert tuple(groups.columns) == GROUP_COLUMNS
    assert tuple(gains.columns) == GAIN_COLUMNS
    rates = groups.set_index(["group", "system"])
    assert rates.loc[("f", "unfair"), "wer"] == pytest.approx(0.4, abs=0.04)
    assert (rates["low"] < rates["wer"]).all()
    assert rates.loc[("f", "fair"), ["num_utterances", "num_speakers"]].tolist() == [70, 7]
    (gain,) = gains.to_dict("records")
    assert (gain["group"], gain["a"], gain["b"], gain["differs"]) == ("f", "fair", "unfair", True)
    assert gain["delta_inside"] == pytest.approx(0.2, abs=0.05)
    assert gain["delta_outside"] == pytest.approx(0.0, abs=0.05)
    assert gain["low"] > 0
    assert gain["p_adjusted"] < 0.01


def test_the_ratio_of_signal_to_noise_makes_three_groups_in_decibels(
    outcomes: list[SystemRuns],
) -> None:
    known = {id: {"snr": str(10 + 2 * int(own["age"]))} for id, own in GENDER.items()}
    groups, gains = by_group(outcomes, known, "snr")
    assert list(dict.fromkeys(groups["group"])) == ["20 to 30 dB", "32 to 40 dB", "42 to 50 dB"]
    assert list(dict.fromkeys(gains["group"])) == ["20 to 30 dB", "32 to 40 dB", "42 to 50 dB"]
    none = {id: {"snr": ""} for id in GENDER}
    with pytest.raises(UserError, match="'unknown' for every utterance"):
        by_group(outcomes, none, "snr")


def test_numbers_of_many_values_are_binned_and_length_is_always_known(
    outcomes: list[SystemRuns],
) -> None:
    groups, gains = by_group(outcomes, GENDER, "age")
    assert list(dict.fromkeys(groups["group"])) == ["5 to 10", "11 to 15", "16 to 20"]
    assert len(gains) == 3
    assert (gains["p_adjusted"] >= gains["p"]).all()
    names = dict.fromkeys(by_group(outcomes, {}, "length")[0]["group"])
    assert list(names) == ["4 to 7 words", "8 to 10 words", "11 to 13 words"]
    few = {id: {"age": str(int(own["age"]) % 3)} for id, own in GENDER.items()}
    assert list(dict.fromkeys(by_group(outcomes, few, "age")[0]["group"])) == ["0", "1", "2"]


def test_unknown_values_are_a_group_of_their_own_and_come_last(outcomes: list[SystemRuns]) -> None:
    some = {id: own for id, own in GENDER.items() if own["gender"] == "m"}
    groups, _ = by_group(outcomes, some, "gender")
    assert list(dict.fromkeys(groups["group"])) == ["m", "unknown"]


def test_a_group_of_one_speaker_has_a_rate_without_an_interval(outcomes: list[SystemRuns]) -> None:
    one = {id: {"accent": "x" if id.startswith("u00") else "y"} for id in GENDER}
    groups, gains = by_group(outcomes, one, "accent")
    alone = groups[groups["group"] == "x"]
    assert alone["wer"].notna().all()
    assert alone[["low", "high"]].isna().all(axis=None)
    assert gains["p_adjusted"].isna().all()
    assert not gains["differs"].any()


@pytest.mark.parametrize(
    ("attributes", "name", "said"),
    [
        ({}, "gendre", "these utterances have no attribute 'gendre'; known: length"),
        (GENDER, "gendre", "did you mean gender?"),
        ({id: {"set": "x"} for id in GENDER}, "set", "set is 'x' for every utterance"),
        (
            {id: {"sentence": f"no. {id}"} for id in GENDER},
            "sentence",
            "groups are 12 at most, but sentence has 160",
        ),
    ],
)
def test_what_is_no_group_is_refused(
    outcomes: list[SystemRuns], attributes: dict[str, dict[str, str]], name: str, said: str
) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.").replace("?", r"\?")):
        by_group(outcomes, attributes, name)


def test_every_attribute_that_parts_the_utterances(outcomes: list[SystemRuns]) -> None:
    more = {id: {**own, "set": "x"} for id, own in GENDER.items()}
    assert known_attributes(more) == ("length", "gender", "age", "set")
    groups, gains = by_every_group(outcomes, more)
    assert list(dict.fromkeys(groups["attribute"])) == ["length", "gender", "age"]
    assert list(dict.fromkeys(gains["attribute"])) == ["length", "gender", "age"]
    empty, none = by_every_group([], more)
    assert empty.empty
    assert none.empty
