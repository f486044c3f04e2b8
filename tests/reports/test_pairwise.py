import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from reports.input import ReportInput
from reports.sections import pairwise
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_the_axis_of_differences_holds_zero(study: ReportInput) -> None:
    shown = pairwise.numbers(study)
    (pair,) = shown.pairs
    assert (pair["a"], pair["b"], pair["difference"].mean) == ("ds-gru", "ds-lstm", 0.051)
    assert (pair["mapsswe_p"], pair["mcnemar_p"], pair["wilcoxon_p"]) == (0.0002, 0.021, 0.03125)
    assert shown.scale
    assert 0.0 in shown.scale.ticks


def test_the_matrix_is_row_minus_column(study: ReportInput) -> None:
    (own, gru_minus_lstm), (lstm_minus_gru, _) = pairwise.numbers(study).matrix
    assert math.isnan(own.difference)
    assert (gru_minus_lstm.difference, lstm_minus_gru.difference) == (-0.051, 0.051)
    assert gru_minus_lstm.mark == "*"
    open_pair = study.pairs.assign(verdict="undecided", remedy="12 seeds <would>")
    shown = pairwise.numbers(replace(study, pairs=open_pair))
    assert shown.matrix[0][1].mark == ""
    assert "*<" not in markup(pairwise, shown)
    assert "12 seeds &lt;would&gt;" in markup(pairwise, shown)
    equal = study.pairs.assign(verdict="equivalent")
    shown = pairwise.numbers(replace(study, pairs=equal))
    assert shown.matrix[0][1].mark == "="
    assert 'aria-label="equivalent">=' in markup(pairwise, shown)


def test_a_claim_is_marked_and_the_level_is_shown(study: ReportInput) -> None:
    page = markup(pairwise, pairwise.numbers(study))
    assert "<small>claim</small>" not in page
    claimed = study.pairs.assign(claim=True, coverage=0.9834)
    page = markup(pairwise, pairwise.numbers(replace(study, pairs=claimed)))
    assert "<small>claim</small>" in page
    assert ">98.3<" in page


def test_many_pairs_fold_away(study: ReportInput) -> None:
    pairs = pd.concat([study.pairs] * 16)
    assert "<details>" in markup(pairwise, pairwise.numbers(replace(study, pairs=pairs)))
    assert "<details>" not in markup(pairwise, pairwise.numbers(study))


def test_one_system_has_nothing_to_compare(make_input: MakeInput) -> None:
    page = markup(pairwise, pairwise.numbers(make_input(systems=("ds-gru",))))
    assert "nothing to compare" in page
