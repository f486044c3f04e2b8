import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from reports.input import Condition, HeardSentence, QuestionSummary, ReportInput
from reports.sections import verdict
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_rows_hold_what_was_measured(study: ReportInput) -> None:
    shown = verdict.numbers(study)
    gru, lstm = shown.systems
    assert (gru["system"], lstm["system"]) == ("ds-gru", "ds-lstm")
    assert len(gru["wer"].singles) == 3
    assert gru["wer"].mean == pytest.approx(sum(gru["wer"].singles) / 3)
    assert (gru["num_parameters"], gru["num_trials"], gru["num_seeds"]) == (1_214_557, 8, 3)
    assert [c.replace("\N{NO-BREAK SPACE}", " ") for c in shown.cautions] == [
        "4 of 22 runs did not finish: 2 diverged, 2 failed (ds-gru, ds-lstm).",
        "2 utterances were left out: 2 shorter than its text allows.",
    ]
    assert shown.scale
    assert all(shown.scale.low <= v <= shown.scale.high for v in gru["wer"].values())


def test_differences_are_against_the_questions_base_or_the_first(
    study: ReportInput, make_input: MakeInput
) -> None:
    gru, lstm = verdict.numbers(study).systems
    assert gru["against"] is None
    assert lstm["against"]
    assert lstm["against"].difference.mean == 0.051
    assert lstm["against"].probability_of_improvement == pytest.approx(0.013)
    asked = replace(study.design, question=QuestionSummary(base="ds-lstm"))
    shown = verdict.numbers(make_input(design=asked))
    assert shown.baseline == "ds-lstm"
    turned = shown.systems[0]["against"]
    assert turned
    assert (turned.difference.low, turned.difference.high) == (-0.066, -0.036)
    assert turned.probability_of_improvement == 0.987


def test_the_page_has_the_figures(study: ReportInput) -> None:
    page = markup(verdict, verdict.numbers(study)).replace("\N{NO-BREAK SPACE}", " ")
    mean = 100 * float(study.systems.loc[0, "wer_mean"])
    for shown in (f">{mean:.1f}<", "1.21 M", "53.1 M", "+5.1", "+3.6 to +6.6", "&lt;0.001", "1.3"):
        assert shown in page
    assert page.count("<circle") == 2
    assert "<script" not in page


def test_a_broken_condition_is_stated_at_the_top(study: ReportInput, make_input: MakeInput) -> None:
    assert verdict.numbers(study).broken == ()
    assert "fair comparison" not in markup(verdict, verdict.numbers(study))
    shown = verdict.numbers(make_input(conditions=(Condition("Budget", "bad", "differs"),)))
    assert shown.broken == ("Budget",)
    page = markup(verdict, shown)
    assert page.index("</strong> budget.") < page.index("<table")
    assert '<a href="#comparability">' in page


def test_what_recognition_costs_is_shown_or_how_to_measure_it(study: ReportInput) -> None:
    page = markup(verdict, verdict.numbers(study))
    assert "python -m bench.speed" in page
    assert "not of ds-gru, ds-lstm" in page
    timed = replace(study, systems=study.systems.assign(real_time_factor=0.0123))
    page = markup(verdict, verdict.numbers(timed))
    assert "0.0123" in page
    assert "python -m bench.speed" not in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_trials": 0, "num_seeds": 0}, "No run has been recorded yet: the study is empty."),
        ({"state": "failed", "num_seeds": 0}, "Every run of the study failed"),
        ({"state": "diverged", "num_seeds": 0}, "Every run of the study diverged"),
        ({"systems": ("ds-gru",), "num_trials": 1, "num_seeds": 0}, "a single run so far"),
        ({"state": "running"}, "16 runs have not ended"),
        ({"num_seeds": 0}, "No confirm run has been scored on the test split."),
        ({"num_seeds": 2}, "rests on 2 seeds only"),
        ({"systems": ("ds-gru",)}, "There is one system, so there is nothing to compare"),
    ],
)
def test_cautions(make_input: MakeInput, options: dict[str, object], said: str) -> None:
    cautions = verdict.cautions(make_input(**options))
    assert said in " ".join(cautions).replace("\N{NO-BREAK SPACE}", " ")


def test_a_study_that_is_over_is_not_called_interrupted(make_input: MakeInput) -> None:
    incomplete = "The study is not complete"
    planned = make_input(state="diverged", num_seeds=0)
    assert incomplete not in " ".join(verdict.cautions(planned))
    more = replace(planned, budget=replace(planned.budget, num_trials=99))
    assert incomplete in " ".join(verdict.cautions(more))
    killed = planned.runs.assign(state=["killed", *planned.runs["state"][1:]])
    assert incomplete in " ".join(verdict.cautions(replace(planned, runs=killed)))
    searched = make_input()
    trials = searched.runs[searched.runs["kind"] == "trial"]
    assert incomplete in " ".join(verdict.cautions(replace(searched, runs=trials)))
    hopeless = replace(searched, runs=trials, winners={})
    assert incomplete not in " ".join(verdict.cautions(hopeless)), "nothing to confirm"


def test_a_system_without_a_wer_is_not_drawn(make_input: MakeInput) -> None:
    shown = verdict.numbers(make_input(num_seeds=0))
    assert all(math.isnan(row["wer"].mean) for row in shown.systems)
    assert shown.scale is None
    page = markup(verdict, shown)
    assert "not scored" in page
    assert "<circle" not in page


def test_few_networks_are_shown_at_once(make_input: MakeInput) -> None:
    def networks(num: int) -> tuple[HeardSentence, ...]:
        return tuple(
            HeardSentence(
                system=system,
                seed=seed,
                ref="i am a human",
                by_epoch=((1, "a"), (4, "i am a human")),
                greedy=f"i am {seed}",
                beam=None if seed else "i am a human",
            )
            for system in ("ds-gru", "ds-lstm")
            for seed in range(num)
        )

    few = verdict.numbers(make_input(heard=networks(2)))
    assert (few.heard, few.more_heard) == (networks(2), ())
    many = verdict.numbers(make_input(heard=networks(3)))
    assert [(one.system, one.seed) for one in many.heard] == [("ds-gru", 0), ("ds-lstm", 0)]
    assert len(many.more_heard) == 4
    page = markup(verdict, many).replace("\N{NO-BREAK SPACE}", " ")
    assert "4 more networks" in page
    assert page.count("<strong><bdi>i am a human</bdi></strong>") == 3
