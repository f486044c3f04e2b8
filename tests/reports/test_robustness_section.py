import json
import math
from dataclasses import replace

import pytest

from reports.input import ConditionChange, ConditionGap, ConditionRate, ReportInput, Robustness
from reports.sections import robustness
from tests.reports.drawing import markup


def with_conditions(study: ReportInput, num_gaps: int = 2, name: str = "ds-lstm") -> ReportInput:
    rates = tuple(
        ConditionRate(condition=title, kind=kind, snr_db=db, system=system,
                      wer=(wer, wer - 0.01, wer + 0.02))
        for title, kind, db, wer in (
            ("as recorded", "as recorded", None, 0.1), ("white, 10 dB", "white", 10.0, 0.2),
            ("white, 0 dB", "white", 0.0, 0.4), ("room, 0.5 s", "room", None, 0.3),
        )
        for system in ("ds-gru", name)
    )  # fmt: skip
    gap = ConditionGap(
        condition="white, 0 dB", a="ds-gru", b=name, gap=(0.05, 0.02, 0.08), coverage=0.975,
        p_adjusted=0.004, verdict="ds-gru better",
    )  # fmt: skip
    change = ConditionChange(
        what="white, 10 dB less", a="ds-gru", b=name, change=(0.021, 0.003, 0.039), coverage=0.95,
        p_adjusted=0.03, differs=True,
    )  # fmt: skip
    found = Robustness(
        name="noise", rates=rates, gaps=(gap,) * num_gaps, changes=(change,),
        sentences=(f"ds-gru leads {name} in 9 of 9 conditions.",),
    )  # fmt: skip
    return replace(study, robustness=found)


def test_a_row_a_condition_and_what_changes(study: ReportInput) -> None:
    shown = robustness.numbers(with_conditions(study))
    titles = ["as recorded", "white, 10 dB", "white, 0 dB", "room, 0.5 s"]
    assert [title for title, _ in shown.rows] == titles
    assert [wer[0] for wer in shown.rows[2][1]] == [0.4, 0.4]
    page = markup(robustness, shown).replace("\N{NO-BREAK SPACE}", " ")
    for said in ("in 9 of 9 conditions", "white, 10 dB less", "+2.1", "the gap changes", "+5.0",
                 "ds-gru better", "97.5"):  # fmt: skip
        assert said in page
    assert "<details>" not in page


def test_a_chart_a_noise_with_the_intervals_of_its_points(study: ReportInput) -> None:
    (white,) = robustness.numbers(with_conditions(study)).noises
    assert white.kind == "white"
    assert [line.system for line in white.lines] == ["ds-gru", "ds-lstm"]
    own = white.lines[0]
    assert [db for db, _ in own.rates] == [0, 10]
    assert own.rates[0][1] == pytest.approx((0.4, 0.39, 0.42))
    assert own.as_recorded == pytest.approx((0.1, 0.09, 0.12))

    drawn = robustness.draw(white)
    assert "ds-lstm 40.0 % at 0 dB, 20.0 % at 10 dB" in drawn.label
    figure = json.loads(drawn.json)
    assert figure["layout"]["xaxis"]["ticktext"] == ["0", "10", "as recorded"]
    line, alone, other, _ = figure["data"]
    assert line["y"] == [40, 20]
    assert line["error_y"]["array"] == pytest.approx([2, 2])
    assert line["error_y"]["arrayminus"] == pytest.approx([1, 1])
    # Beside each other at a ratio; nothing joins the recordings as they are to a ratio.
    assert other["x"][0] - line["x"][0] == pytest.approx(robustness.APART_DB)
    assert len(alone["x"]) == 1
    assert alone["x"][0] > 10
    page = markup(robustness, robustness.numbers(with_conditions(study)))
    assert 'id="chart-noise-white"' in page


def test_a_noise_of_one_ratio_has_no_chart(study: ReportInput) -> None:
    found = with_conditions(study).robustness
    assert found is not None
    rates = tuple(rate for rate in found.rates if rate.snr_db != 10.0)
    alone = replace(study, robustness=replace(found, rates=rates))
    assert robustness.numbers(alone).noises == ()


def test_an_unknown_interval_is_a_gap_in_the_drawing(study: ReportInput) -> None:
    found = with_conditions(study).robustness
    assert found is not None
    rates = tuple(replace(r, wer=(r.wer[0], math.nan, math.nan)) for r in found.rates)
    (white,) = robustness.numbers(replace(study, robustness=replace(found, rates=rates))).noises
    line = json.loads(robustness.draw(white).json)["data"][0]
    assert line["error_y"]["array"] == [None, None]
    assert "nan" not in " ".join(line["text"])


def test_long_tables_fold(study: ReportInput) -> None:
    page = markup(robustness, robustness.numbers(with_conditions(study, num_gaps=16)))
    assert "<summary>All 16 gaps</summary>" in page


def test_without_conditions_the_flag_is_named(study: ReportInput) -> None:
    shown = robustness.numbers(study)
    assert shown.found is None
    assert "--conditions noise" in markup(robustness, shown)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>"])
def test_hostile_names_are_text(study: ReportInput, evil: str) -> None:
    found = with_conditions(study).robustness
    assert found is not None
    sentences = replace(study, robustness=replace(found, sentences=(evil,)))
    assert evil not in markup(robustness, robustness.numbers(sentences))
