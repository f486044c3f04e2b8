from collections.abc import Callable
from dataclasses import replace

from reports.input import Condition, ReportInput
from reports.sections import cost, tradeoffs
from reports.sections.verdict import cautions
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_points_hold_cost_and_wer(study: ReportInput) -> None:
    by_size, by_time = tradeoffs.numbers(study).tradeoffs
    assert (by_size.cost, by_time.cost) == ("num_parameters", "train_seconds")
    gru, lstm = by_size.points
    row = study.systems.set_index("system").loc["ds-gru"]
    assert (gru.cost, gru.wer, gru.low) == (1_214_557, row["wer_mean"], row["wer_low"])
    assert (gru.is_pareto_optimal, lstm.is_pareto_optimal) == (True, False)
    assert by_size.pareto_optimal == ("ds-gru",)


def test_the_page_names_the_pareto_optimal_and_marks_them_by_shape(study: ReportInput) -> None:
    page = markup(tradeoffs, tradeoffs.numbers(study)).replace("\N{NO-BREAK SPACE}", " ")
    assert "By parameters, Pareto-optimal: <b>ds-gru</b>. Hypervolume 30.0 %" in page
    assert page.count('"diamond"') == 2
    assert page.count('"circle"') == 2


def test_one_system_has_nothing_to_trade(make_input: MakeInput) -> None:
    page = markup(tradeoffs, tradeoffs.numbers(make_input(systems=("ds-gru",))))
    assert "there is no trade-off to show" in page


def test_costs_in_seconds_that_do_not_compare_are_not_drawn(study: ReportInput) -> None:
    reason = "what computed recurrences: Triton (ds-gru); cuDNN (ds-lstm)"
    condition = Condition("costs", "bad", "differs", (reason,), of_costs=True)
    differing = replace(study, conditions=(condition,))
    assert differing.broken == ()
    assert [one.cost for one in tradeoffs.numbers(differing).tradeoffs] == ["num_parameters"]
    assert reason in markup(tradeoffs, tradeoffs.numbers(differing))
    assert reason in markup(cost, cost.numbers(differing))
    assert any(reason in told for told in cautions(differing))
    assert "not comparable" not in markup(cost, cost.numbers(study))
