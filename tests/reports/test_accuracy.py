import math
from collections.abc import Callable
from dataclasses import replace
from statistics import stdev

import pandas as pd
import pytest

from reports.input import ReportInput
from reports.sections import accuracy
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_every_seed_is_shown(study: ReportInput) -> None:
    shown = accuracy.numbers(study)
    runs = study.runs
    for row in shown.seeds:
        own = runs[(runs["system"] == row.system) & (runs["kind"] == "confirm")]
        assert row.wer.singles == tuple(own["test_wer"])
        assert row.spread == pytest.approx(stdev(own["test_wer"]))
    assert markup(accuracy, shown).count('class="single"') == 6


def test_the_largest_source_of_variance_has_a_remedy(study: ReportInput) -> None:
    (row,) = accuracy.numbers(study).variances
    assert row.shares == (0.25, 0.7, 0.05)
    assert (row.remedy, row.minimum_detectable_effect) == ("more test speakers", 0.031)
    by_seeds = study.pairs.assign(share_seeds=0.9)
    shown = accuracy.numbers(replace(study, pairs=by_seeds))
    assert shown.variances[0].remedy == "more seeds"


def test_parts_of_the_standard_error_add_up_in_squares(study: ReportInput) -> None:
    shown = accuracy.numbers(study)
    assert shown.seeds[0].standard_error == pytest.approx(math.sqrt(0.004**2 + 0.007**2 + 0.001**2))
    assert shown.dominant == "test_set"
    assert shown.dominant_share == pytest.approx(49 / 66)
    assert (shown.seeds_unseen, shown.detectable) == (False, (0.031, 0.031))
    page = markup(accuracy, shown).replace("\N{NO-BREAK SPACE}", " ")
    assert "Most of it comes from <strong>test speakers</strong> (74 % of the variance" in page
    assert "more test speakers would shrink it most" in page
    assert "searched once" in page


def test_single_runs_have_no_variance_between_seeds(study: ReportInput) -> None:
    single = study.systems.assign(se_from_seeds=math.nan, se_from_interaction=math.nan)
    shown = accuracy.numbers(replace(study, systems=single))
    assert shown.seeds_unseen
    assert "has a single run" in markup(accuracy, shown)


def test_without_variance_no_source_is_named(study: ReportInput) -> None:
    parts = [column for column in study.systems if column.startswith("se_from_")]
    for value in (0.0, math.nan):
        even = study.systems.assign(**dict.fromkeys(parts, value))
        shown = accuracy.numbers(replace(study, systems=even))
        assert shown.dominant == ""
        assert "Most of it comes from" not in markup(accuracy, shown)


def test_many_pairs_fold_away(study: ReportInput) -> None:
    many = replace(study, pairs=pd.concat([study.pairs] * 16))
    assert "<details>" in markup(accuracy, accuracy.numbers(many))
    assert "<details>" not in markup(accuracy, accuracy.numbers(study))


def test_nothing_scored_gives_a_sentence(make_input: MakeInput) -> None:
    page = markup(accuracy, accuracy.numbers(make_input(num_seeds=0)))
    assert "No confirm run has been scored" in page
