import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from reports import ReportInput
from reports.comparable import FACTS, Check, broken, checks

CUT = "Training not cut short"
MakeInput = Callable[..., ReportInput]


def found(report_input: ReportInput) -> dict[str, Check]:
    return {check.title: check for check in checks(report_input)}


def test_a_study_as_it_should_be_is_green(study: ReportInput) -> None:
    shown = found(study)
    assert {check.outcome for check in shown.values()} == {"good"}
    assert list(shown) == [*FACTS.values(), "Budget spent", CUT, "Leakage", "Test openings"]
    assert (shown["Decoder"].found, shown["Budget"].found) == (
        "greedy",
        "2\N{NO-BREAK SPACE}settings alike",
    )


@pytest.mark.parametrize("point", FACTS)
def test_what_differs_is_red_and_named(study: ReportInput, point: str) -> None:
    key = "budget.num_trials" if point == "budget" else point
    other = {**study.facts["ds-lstm"], key: "other"}
    differing = replace(study, facts={**study.facts, "ds-lstm": other})
    check = found(differing)[FACTS[point]]
    assert check.outcome == "bad"
    assert check.details == (f"{key}: {study.facts['ds-gru'][key]} (ds-gru); other (ds-lstm)",)
    assert broken(checks(differing)) == (FACTS[point],)


def test_runs_of_one_variant_that_do_not_agree_are_red(study: ReportInput) -> None:
    mixed = {name: {**own, "hardware": "A | B"} for name, own in study.facts.items()}
    check = found(replace(study, facts=mixed))["Hardware"]
    assert check.details == ("hardware: A | B (ds-gru, ds-lstm)",)


def test_what_nobody_recorded_is_neither(study: ReportInput) -> None:
    without = {key: value for key, value in study.facts["ds-lstm"].items() if key != "code"}
    half = found(replace(study, facts={**study.facts, "ds-lstm": without}))["Code commit"]
    assert (half.outcome, half.found) == ("plain", "ddeef36b2f0a")
    assert half.details == ("not recorded of ds-lstm",)
    none = found(replace(study, facts={}))["Code commit"]
    assert (none.outcome, none.found) == ("plain", "no scored run to ask")


def test_runs_that_the_cap_ended_are_counted_and_red(study: ReportInput) -> None:
    runs = study.runs.copy()
    cut = runs["run"].isin(("ds-gru/trial-000", "ds-gru/trial-002", "ds-gru/confirm-1"))
    runs.loc[cut, ["state", "num_epochs"]] = "cut", 7.0
    budget = replace(study.budget, max_train_seconds=1200.0)
    check = found(replace(study, runs=runs, budget=budget))[CUT]
    assert (check.outcome, check.found) == (
        "bad",
        "runs ended by the cap of 1,200 s on training time",
    )
    assert check.details == (
        "ds-gru: 2 of 8 trials and 1 of 3 confirm runs, in epoch 7 at the earliest",
    )
    none = found(replace(study, runs=runs[:0]))[CUT]
    assert (none.outcome, none.found) == ("plain", "not recorded")


def test_a_budget_that_is_not_spent_is_red(study: ReportInput) -> None:
    runs = study.runs[~study.runs["run"].isin(("ds-lstm/trial-003", "ds-gru/confirm-0"))]
    check = found(replace(study, runs=runs))["Budget spent"]
    assert check.outcome == "bad"
    assert check.details == ("ds-lstm: 7 of 8 trials", "ds-gru: 2 of 3 scored seeds")


def test_leakage_is_red_but_for_watch_utterances(study: ReportInput) -> None:
    def of(leakage: dict[str, int]) -> Check:
        return found(replace(study, corpus=replace(study.corpus, leakage=leakage)))["Leakage"]

    assert of({"train/test same speaker": 0, "train/watch same text": 3}).outcome == "good"
    check = of({"train/test same speaker": 7})
    assert (check.outcome, check.details) == (
        "bad",
        ("train/test same speaker: 7\N{NO-BREAK SPACE}utterances",),
    )


def test_the_test_split_is_opened_once_a_seed(study: ReportInput, make_input: MakeInput) -> None:
    def of(**columns: object) -> Check:
        return found(replace(study, runs=study.runs.assign(**columns)))["Test openings"]

    twice = study.runs["num_test_openings"].where(study.runs["run"] != "ds-gru/confirm-1", 2.0)
    assert of(num_test_openings=twice).details == ("ds-gru/confirm-1: opened 2 times",)
    peeked = study.runs["test_wer"].where(study.runs["run"] != "ds-gru/trial-000", 0.2)
    assert of(test_wer=peeked).details == ("ds-gru/trial-000: a trial that was scored on test",)
    assert of(num_test_openings=math.nan).outcome == "plain"
    unscored = found(make_input(num_seeds=0))["Test openings"]
    assert unscored.found == "the test split has not been scored"
