from dataclasses import replace

import pytest

from reports.input import ConditionChange, ConditionGap, ConditionRate, ReportInput, Robustness
from reports.sections import robustness


def with_conditions(study: ReportInput, num_gaps: int = 2, name: str = "ds-lstm") -> ReportInput:
    rates = tuple(
        ConditionRate(condition=title, kind="white", snr_db=db, system=system,
                      wer=(wer, wer - 0.01, wer + 0.02))
        for title, db, wer in (("as recorded", None, 0.1), ("white, 0 dB", 0.0, 0.4))
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
    assert [title for title, _ in shown.rows] == ["as recorded", "white, 0 dB"]
    assert [wer[0] for wer in shown.rows[1][1]] == [0.4, 0.4]
    page = robustness.html(shown).replace("\N{NO-BREAK SPACE}", " ")
    for said in ("in 9 of 9 conditions", "white, 10 dB less", "+2.1", "the gap changes", "+5.0",
                 "ds-gru better", "97.5"):  # fmt: skip
        assert said in page
    assert "<details>" not in page


def test_long_tables_fold(study: ReportInput) -> None:
    page = robustness.html(robustness.numbers(with_conditions(study, num_gaps=16)))
    assert "<summary>All 16 gaps</summary>" in page


def test_without_conditions_the_flag_is_named(study: ReportInput) -> None:
    shown = robustness.numbers(study)
    assert shown.found is None
    assert "--conditions noise" in robustness.html(shown)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>"])
def test_hostile_names_are_text(study: ReportInput, evil: str) -> None:
    found = with_conditions(study).robustness
    assert found is not None
    sentences = replace(study, robustness=replace(found, sentences=(evil,)))
    assert evil not in robustness.html(robustness.numbers(sentences))
