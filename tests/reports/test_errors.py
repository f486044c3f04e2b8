import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reports.columns import COLUMNS
from reports.input import ReportInput
from reports.sections import errors
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def scored(ref: str, hyp: str, counts: tuple[int, int, int], **more: Any) -> dict[str, Any]:
    kinds = dict(zip(("substitutions", "deletions", "insertions"), counts, strict=True))
    row = {"run": "a/confirm-0", "system": "ds-gru", "seed": 0, "id": ref, "speaker": "s",
           "seconds": 3.0, "num_ref_words": len(ref.split()), "ref": ref, "hyp": hyp}  # fmt: skip
    return {**row, **kinds, **more}


@pytest.fixture
def small(study: ReportInput) -> ReportInput:
    rows = [
        scored("the cat sat", "the hat sat", (1, 0, 0)),
        scored("the cat ran off", "the hat ran", (1, 1, 0), seconds=12.0),
        scored("a zebra", "a a zebras", (1, 0, 1)),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS["utterances"]))
    words = {"the": 150, "cat": 30, "sat": 7, "ran": 2, "off": 2, "a": 150}
    return replace(study, utterances=table, train_words=words)


def test_rates_are_per_reference_word(small: ReportInput) -> None:
    (profile,) = errors.numbers(small).profiles
    assert profile.num_words == 9
    rates = profile.substitutions, profile.deletions, profile.insertions
    assert rates == (3 / 9, 1 / 9, 1 / 9)


def test_confusions_of_words_and_of_letters(small: ReportInput) -> None:
    (profile,) = errors.numbers(small).profiles
    assert profile.words == (("cat", "hat", 2), ("zebra", "zebras", 1))
    assert profile.letters == (("c", "h", 2), ("", "s", 1))
    assert profile.unseen == (("zebra", "zebras", 1),)


def test_unseen_words_are_counted_the_right_ones_too(small: ReportInput) -> None:
    (profile,) = errors.numbers(replace(small, train_words={"the": 1})).profiles
    assert ("cat", "hat", 2) in profile.unseen
    assert ("sat", "sat", 1) in profile.unseen


def test_bins_hold_their_errors(small: ReportInput) -> None:
    by_length, by_seconds, by_count = errors.numbers(small).tables
    assert [(label, cells[0].rate, cells[0].num_words) for label, cells in by_length.rows] == [
        ("1 to 2", 1.0, 2),
        ("3 to 5", 3 / 7, 7),
    ]
    assert [label for label, _ in by_seconds.rows] == ["2 to below 5", "10 to below 20"]
    rates = {label: (cells[0].rate, cells[0].num_words) for label, cells in by_count.rows}
    assert rates == {
        "0": (1.0, 1),
        "1 to 4": (1 / 2, 2),
        "5 to 19": (0.0, 1),
        "20 to 99": (1.0, 2),
        "100 and more": (0.0, 3),
    }
    assert all(cells[0].is_small for _, cells in by_count.rows)


def test_a_large_study_is_aligned_in_part_and_says_so(
    small: ReportInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "MAX_ALIGNED", 2)
    shown = errors.numbers(small)
    assert shown.share_aligned == 2 / 3
    assert "66.7" in markup(errors, shown)


def test_nothing_scored_gives_a_sentence(make_input: MakeInput) -> None:
    shown = errors.numbers(make_input(num_seeds=0))
    assert math.isnan(shown.share_aligned)
    assert "No test utterance has been scored" in markup(errors, shown)


def test_hostile_words_are_text(small: ReportInput) -> None:
    evil = '<script>alert("1")</script>'
    table = small.utterances.assign(ref=f"the {evil}", hyp=f"the {'x' * 10_000}")
    page = markup(errors, errors.numbers(replace(small, utterances=table)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
