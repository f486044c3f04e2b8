import math
from collections.abc import Callable
from dataclasses import replace
from statistics import stdev

import pytest

from reports import ReportInput
from reports.sections import accuracy

MakeInput = Callable[..., ReportInput]


def test_every_seed_is_shown(study: ReportInput) -> None:
    shown = accuracy.numbers(study)
    runs = study.runs
    for row in shown.seeds:
        own = runs[(runs["variant"] == row.variant) & (runs["kind"] == "confirm")]
        assert row.wer.singles == tuple(own["test_wer"])
        assert row.spread == pytest.approx(stdev(own["test_wer"]))
    assert accuracy.html(shown).count('class="single"') == 6


def test_the_largest_source_says_what_would_help(study: ReportInput) -> None:
    (row,) = accuracy.numbers(study).variances
    assert row.shares[:3] == (0.25, 0.7, 0.05)
    assert math.isnan(row.shares[3])
    assert (row.remedy, row.smallest_gap) == ("more test speakers", 0.031)
    assert accuracy.numbers(study).one_search
    searched = study.pairs.assign(share_search=0.9)
    shown = accuracy.numbers(replace(study, pairs=searched))
    assert shown.variances[0].remedy == "repeated searches"
    assert not shown.one_search


def test_nothing_scored_is_said(make_input: MakeInput) -> None:
    page = accuracy.html(accuracy.numbers(make_input(num_seeds=0)))
    assert "No confirm run has been scored" in page
