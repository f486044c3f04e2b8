import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from reports.input import ReportInput
from reports.sections import budget
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_a_curve_is_the_search_in_the_order_it_ran(study: ReportInput) -> None:
    gru, lstm = budget.numbers(study).curves
    assert (gru.system, gru.tone, lstm.tone) == ("ds-gru", 0, 1)
    assert gru.num_trials == tuple(range(1, 9))
    assert list(gru.train_seconds) == sorted(gru.train_seconds)
    assert list(gru.best) == sorted(gru.best, reverse=True)
    assert gru.best[gru.last_gain - 1] == gru.best[-1]
    assert gru.last_gain == 1 or gru.best[gru.last_gain - 2] > gru.best[-1]
    assert gru.expected == pytest.approx((0.28, 0.26))


def test_trials_that_the_cap_ended_are_counted(study: ReportInput) -> None:
    runs = study.runs.copy()
    runs.loc[runs["run"].isin(("ds-lstm/trial-000", "ds-lstm/confirm-0")), "state"] = "cut"
    gru, lstm = budget.numbers(replace(study, runs=runs)).curves
    assert (gru.num_cut, lstm.num_cut) == (0, 1)
    assert "Cut by the cap" in markup(budget, budget.numbers(study))


def test_before_a_trial_has_ended_well_there_is_no_best(study: ReportInput) -> None:
    rows = [("ds-gru", 1, 10.0, math.nan), ("ds-gru", 2, 20.0, 0.5)]
    table = pd.DataFrame(rows, columns=list(study.budget_curves))
    (curve,) = budget.numbers(replace(study, budget_curves=table)).curves
    assert curve.last_gain == 2
    (curve,) = budget.numbers(replace(study, budget_curves=table[:1])).curves
    assert curve.last_gain == 0
    assert "null" in markup(budget, budget.numbers(replace(study, budget_curves=table)))
    nothing = markup(budget, budget.numbers(replace(study, budget_curves=table[:1])))
    assert "nan" not in nothing
    assert "there is no curve to draw" in nothing


def test_one_random_trial_expects_nothing_and_it_is_said(study: ReportInput) -> None:
    table = study.expected_best
    one = table[(table["system"] == "ds-gru") | (table["num_trials"] == 1)]
    found = budget.numbers(replace(study, expected_best=one))
    assert [bool(curve.expected) for curve in found.curves] == [True, False]
    page = markup(budget, found)
    assert "Open diamonds" in page
    assert "Fewer than two random trials of ds-lstm have ended" in page
    none = markup(budget, budget.numbers(replace(study, expected_best=table[:0])))
    assert "Open diamonds" not in none
    assert "Fewer than two" not in markup(budget, budget.numbers(study))


def test_no_trial_is_said(make_input: MakeInput) -> None:
    page = markup(budget, budget.numbers(make_input(num_trials=0)))
    assert "No trial of the search has ended" in page
