from collections.abc import Callable

from reports import ReportInput
from reports.sections import trust

MakeInput = Callable[..., ReportInput]


def test_numbers(study: ReportInput) -> None:
    shown = trust.numbers(study)
    assert [row.split for row in shown.splits] == ["train", "valid", "test", "watch"]
    assert shown.splits[0].num_speakers == 32
    assert shown.left_out == (("shorter than its text allows", 2),)
    trials, confirms = shown.states[:2]
    # finished, pruned, diverged, failed, killed, running
    assert (trials.kind, trials.counts, trials.total) == ("trial", (4, 2, 1, 1, 0, 0), 8)
    assert (confirms.kind, confirms.counts, confirms.total) == ("confirm", (3, 0, 0, 0, 0, 0), 3)


def test_leakage_is_an_alarm(study: ReportInput, make_input: MakeInput) -> None:
    assert "No overlap" in trust.html(trust.numbers(study))
    leakage = {"train/test same speaker": 7, "train/test same text": 0}
    shown = trust.numbers(make_input(corpus={**study.corpus, "leakage": leakage}))
    assert shown.leakage == (("train/test same speaker", 7),)
    page = trust.html(shown)
    assert "Splits overlap" in page
    assert "No overlap" not in page


def test_nothing_left_out_is_said(study: ReportInput, make_input: MakeInput) -> None:
    shown = trust.numbers(make_input(corpus={**study.corpus, "left_out": {}}))
    assert "Nothing left out" in trust.html(shown)


def test_an_unknown_state_is_in_the_total_only(study: ReportInput, make_input: MakeInput) -> None:
    runs = study.runs.assign(state="hibernating")
    row = trust.numbers(make_input(runs=runs)).states[0]
    assert (sum(row.counts), row.total) == (0, 8)


DESIGN = {
    "held_equal": "2,000,000 parameters",
    "question": {
        "name": "cells", "summary": "Which cell?", "claim": "LSTM beats GRU.", "source": "nobody",
        "base": "ds-gru", "better": [["ds-lstm", "ds-gru"], ["ds-gru", "ds-lstm"], ["ds-gru", "x"]],
    },
    "findings": (("WER against data", "falls <fast>"),),
    "systems": {
        "ds-gru": {"variant": "ds-gru", "settings": {"model.width": 306}, "changes": []},
        "ds-lstm": {"variant": "ds-lstm", "settings": {}, "changes": ["model.cell"]},
    },
}  # fmt: skip


def test_the_claim_is_answered_and_what_differs_is_said(
    study: ReportInput, make_input: MakeInput
) -> None:
    shown = trust.numbers(make_input(design=DESIGN))
    answers = [found for _, found in shown.answers]
    assert answers == ["contradicted", "found", "not compared yet", "falls <fast>"]
    gru, lstm = shown.systems
    assert (gru.settings, gru.difference) == ((("model.width", "306"),), "base")
    assert (lstm.settings, lstm.difference) == ((), "model.cell")
    page = trust.html(shown)
    assert "LSTM beats GRU." in page
    assert "WER against data:</b> falls &lt;fast&gt;" in page
    assert "2,000,000 parameters, to within 1 %" in page
    assert "The claim" not in trust.html(trust.numbers(study))


def test_a_claim_that_the_data_do_not_decide_is_not_separated(
    study: ReportInput, make_input: MakeInput
) -> None:
    pairs = study.pairs.assign(verdict="not separated")
    shown = trust.numbers(make_input(design=DESIGN, pairs=pairs))
    assert [found for _, found in shown.answers][:2] == ["not separated"] * 2


def test_several_differences_are_counted(make_input: MakeInput) -> None:
    both = ["model.cell", "model.norm"]
    lstm = {"variant": "ds-lstm", "settings": {}, "changes": both}
    systems = {**DESIGN["systems"], "ds-lstm": lstm}  # type: ignore[dict-item]
    shown = trust.numbers(make_input(design={**DESIGN, "systems": systems}))
    assert shown.systems[1].difference == "2 things at once"
