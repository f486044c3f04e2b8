import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reports.input import ReportInput, SearchRange
from reports.sections import search
from reports.sections.search import Axis
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]
RATE = SearchRange(low=1e-4, high=1e-2, log=True)
WINNER = 1


def searched(
    make_input: MakeInput, trials: list[tuple[str, float, Any]], space: dict[str, Any] | None
) -> search.SystemSearch:
    """The search of one system with trials of (state, WER, learning rate)."""
    base = make_input(systems=("ds-gru",), num_trials=len(trials), num_seeds=0)
    runs = base.runs.assign(
        state=[state for state, _, _ in trials],
        valid_wer=[wer for _, wer, _ in trials],
        params=[{"lr": value} for _, _, value in trials],
    )
    spaces = {"ds-gru": {"lr": space}} if space else {}
    made = make_input(systems=("ds-gru",), runs=runs, spaces=spaces, winners={"ds-gru": WINNER})
    (found,) = search.numbers(made).searches
    return found


def test_best_so_far_counts_finished_trials(make_input: MakeInput) -> None:
    trials = [
        ("finished", 0.5, 1e-3),
        ("pruned", 0.2, 1e-3),
        ("finished", 0.6, 1e-3),
        ("failed", math.nan, 1e-3),
        ("finished", 0.3, 2e-3),
        ("finished", 0.3, 3e-3),
    ]
    found = searched(make_input, trials, RATE)
    assert found.best_so_far == ((0, 0.5), (2, 0.5), (4, 0.3), (5, 0.3))
    assert found.best is found.trials[WINNER], "whatever the study says"
    assert [trial["slot"] for trial in found.placed] == [1, 4, 5, 0, 2]
    assert found.summary == "4 finished, 1 pruned, 1 failed"


def test_a_range_that_was_too_narrow_is_an_alarm(make_input: MakeInput) -> None:
    given = replace(make_input(), edges={"ds-lstm": ("the best trial lies at <the> edge",)})
    shown = search.numbers(given)
    assert [found.alarms for found in shown.searches] == [
        (),
        ("The best trial lies at <the> edge.",),
    ]
    assert "The best trial lies at &lt;the&gt; edge." in markup(search, shown)


def test_without_a_written_range_there_is_an_axis(make_input: MakeInput) -> None:
    trials = [("finished", 0.2, 1e-3), ("finished", 0.3, 5e-3)]
    found = searched(make_input, trials, None)
    assert found.axes == (Axis("lr", 1e-3, 5e-3),)
    named = [("finished", 0.2, "adamw"), ("finished", 0.3, "sgd")]
    assert searched(make_input, named, None).axes == (Axis("lr", choices=("adamw", "sgd")),)


def test_places_on_an_axis() -> None:
    assert Axis("lr", 1e-4, 1e-2, is_log=True).at(1e-3) == pytest.approx(-3)
    assert Axis("bins", choices=("40", "64")).at(64) == 1
    assert math.isnan(Axis("bins", choices=("40", "64")).at(81))
    assert math.isnan(Axis("lr", 1e-4, 1e-2, is_log=True).at(None))


def figure(page: str, name: str) -> Any:
    return json.loads(page.split(f'data-chart="{name}">')[1].split("</script>")[0])


def test_parallel_coordinates_draw_the_best_last(study: ReportInput) -> None:
    found = search.numbers(study)
    page = markup(search, found)
    trace = figure(page, "chart-parallel-1")["data"][0]
    by_label = {dimension["label"]: dimension for dimension in trace["dimensions"]}
    assert set(by_label) == {
        "dropout",
        "learning_rate",
        "num_bins",
        "weight_decay",
        "valid WER, %",
    }
    wers = by_label["valid WER, %"]["values"]
    assert wers == sorted(wers, reverse=True)
    assert by_label["learning_rate"]["ticktext"] == ["0.0005", "0.001", "0.002", "0.005"]
    assert by_label["learning_rate"]["range"] == pytest.approx([math.log10(5e-4), math.log10(8e-3)])
    assert by_label["num_bins"]["ticktext"] == ["40", "64", "80"]


def test_a_value_at_the_end_of_its_range_is_drawn_whole(study: ReportInput) -> None:
    layout = figure(markup(search, search.numbers(study)), "chart-slices-0")["layout"]
    assert [layout[f"xaxis{n}"]["title"]["text"] for n in ("", "2", "3")] == [
        "num_bins", "dropout", "learning_rate",
    ]  # fmt: skip
    low, high = layout["xaxis2"]["range"]
    assert -0.1 < low < 0.0 < 0.3 < high < 0.4
    assert layout["xaxis"]["ticktext"] == ["40", "64", "80"]
    assert layout["xaxis3"]["ticktext"] == ["0.0005", "0.002", "0.005"]


def test_every_trial_is_in_the_history(study: ReportInput) -> None:
    drawn = figure(markup(search, search.numbers(study)), "chart-history")
    assert drawn["layout"]["xaxis"]["dtick"] == 1, "no tick between two trials"
    line, marks, *_ = drawn["data"]
    assert marks["x"] == list(range(8))
    assert marks["marker"]["symbol"][3:7] == ["x", "circle", "triangle-down", "square"]
    assert marks["y"][6] == max(marks["y"])  # It failed without a WER.
    assert line["y"] == sorted(line["y"], reverse=True)


def test_params_may_be_missing(make_input: MakeInput, study: ReportInput) -> None:
    runs = study.runs.assign(params=None, valid_wer=math.nan)
    page = markup(search, search.numbers(make_input(runs=runs, spaces={})))
    assert "Nothing was searched" in page


def test_rungs_are_told_where_there_are_some(make_input: MakeInput) -> None:
    made = make_input()
    budget = replace(made.budget, rungs="the better half goes on after epoch 2")
    told = "Halving: the better half goes on after epoch 2; a trial that goes on does so from its"
    assert told in markup(search, search.numbers(replace(made, budget=budget)))
    assert "Halving" not in markup(search, search.numbers(made))


def test_no_trials_give_a_sentence(make_input: MakeInput) -> None:
    assert "No trial has been recorded" in markup(search, search.numbers(make_input(num_trials=0)))
