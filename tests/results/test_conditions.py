import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from bench.results.comparability import RULES, Rule
from bench.results.conditions import conditions
from reports.input import Condition, ReportInput
from tests.reports.conftest import FACTS, make_input

CUT = "Training not cut short"


def found(
    study: ReportInput,
    facts: Mapping[str, Mapping[str, str]] | None = None,
    leakage: Mapping[str, int] | None = None,
) -> dict[str, Condition]:
    facts = dict.fromkeys(study.systems["system"], FACTS) if facts is None else facts
    made = conditions(facts, study.runs, study.budget, leakage or {})
    return {condition.title: condition for condition in made}


@pytest.fixture(scope="module")
def study() -> ReportInput:
    return make_input()


def test_a_study_as_it_should_be_is_green(study: ReportInput) -> None:
    shown = found(study)
    assert {check.outcome for check in shown.values()} == {"good"}
    assert list(shown) == [
        *(rule.title for rule in RULES),
        "Budget spent",
        CUT,
        "Leakage",
        "Test openings",
    ]
    assert (shown["Decoder"].found, shown["Budget"].found) == (
        "greedy",
        "2\N{NO-BREAK SPACE}settings alike",
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
def test_what_differs_is_red_and_named(study: ReportInput, rule: Rule) -> None:
    key = {"budget": "budget.num_trials", "costs": "costs.recurrence"}.get(rule.key, rule.key)
    condition = found(study, {"ds-gru": FACTS, "ds-lstm": {**FACTS, key: "other"}})[rule.title]
    assert condition.outcome == "bad"
    shown = "what computed recurrences" if rule.only_costs else key
    assert condition.details == (f"{shown}: {FACTS[key]} (ds-gru); other (ds-lstm)",)
    assert condition.of_costs == rule.only_costs


def test_runs_of_one_system_that_differ_are_red(study: ReportInput) -> None:
    mixed = {name: {**FACTS, "hardware": "A | B"} for name in ("ds-gru", "ds-lstm")}
    assert found(study, mixed)["Hardware"].details == ("hardware: A | B (ds-gru, ds-lstm)",)


def test_unrecorded_conditions_are_unknown(study: ReportInput) -> None:
    without = {key: value for key, value in FACTS.items() if key != "code"}
    half = found(study, {"ds-gru": FACTS, "ds-lstm": without})["Code commit"]
    assert (half.outcome, half.found) == ("plain", "ddeef36b2f0a")
    assert half.details == ("not recorded of ds-lstm",)
    none = found(study, {"ds-gru": {}, "ds-lstm": {}})["Code commit"]
    assert (none.outcome, none.found) == ("plain", "not recorded")
    none = found(make_input(num_seeds=0))["Code commit"]
    assert (none.outcome, none.found) == ("plain", "no scored run")


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
    for state in ("running", "killed", "paused"):
        going = study.runs["run"] == "ds-lstm/trial-003"
        runs = study.runs.assign(state=study.runs["state"].mask(going, state))
        check = found(replace(study, runs=runs))["Budget spent"]
        assert check.details == ("ds-lstm: 7 of 8 trials",), state


def test_leakage_is_red_but_for_watch_utterances(study: ReportInput) -> None:
    def of(leakage: dict[str, int]) -> Condition:
        return found(study, leakage=leakage)["Leakage"]

    assert of({"train/test same speaker": 0, "train/watch same text": 3}).outcome == "good"
    check = of({"train/test same speaker": 7})
    assert (check.outcome, check.details) == (
        "bad",
        ("train/test same speaker: 7\N{NO-BREAK SPACE}utterances",),
    )


def test_the_test_split_is_opened_once_a_seed(study: ReportInput) -> None:
    def of(**columns: object) -> Condition:
        return found(replace(study, runs=study.runs.assign(**columns)))["Test openings"]

    twice = study.runs["num_test_openings"].where(study.runs["run"] != "ds-gru/confirm-1", 2.0)
    assert of(num_test_openings=twice).details == ("ds-gru/confirm-1: opened 2 times",)
    peeked = study.runs["test_wer"].where(study.runs["run"] != "ds-gru/trial-000", 0.2)
    assert of(test_wer=peeked).details == ("ds-gru/trial-000: a trial that was scored on test",)
    assert of(num_test_openings=math.nan).outcome == "plain"
    unscored = found(make_input(num_seeds=0))["Test openings"]
    assert unscored.found == "the test split has not been scored"
