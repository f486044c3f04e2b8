from collections.abc import Callable
from dataclasses import replace

from reports.input import Condition, QuestionSummary, ReportInput, StudyDesign
from reports.sections import comparability
from tests.reports.conftest import METHOD
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_numbers(study: ReportInput) -> None:
    shown = comparability.numbers(study)
    assert [row.split for row in shown.corpus.splits] == ["train", "valid", "test", "watch"]
    assert shown.corpus.splits[0].num_speakers == 32
    assert shown.corpus.excluded == {"shorter than its text allows": 2}
    trials, confirms = shown.states[:2]
    # finished, cut, pruned, diverged, failed, paused, killed, running
    assert (trials.kind, trials.counts, trials.total) == ("trial", (4, 0, 2, 1, 1, 0, 0, 0), 8)
    assert (confirms.kind, confirms.counts, confirms.total) == (
        "confirm",
        (3, 0, 0, 0, 0, 0, 0, 0),
        3,
    )


def test_the_checklist_is_counted_and_names_what_differs(
    study: ReportInput, make_input: MakeInput
) -> None:
    page = markup(comparability, comparability.numbers(study))
    assert "Of 4 conditions of a fair comparison 4 hold." in page
    found = (
        Condition("Data digest", "bad", "differs", ("data: 9d (ds-gru); <other> (ds-lstm)",)),
        Condition("Code commit", "plain", "not recorded"),
        *study.conditions,
    )
    page = markup(comparability, comparability.numbers(make_input(conditions=found)))
    assert "4 hold, 1 does not; 1 cannot be told." in page
    assert "data: 9d (ds-gru); &lt;other&gt; (ds-lstm)" in page


def test_nothing_left_out_is_said(study: ReportInput, make_input: MakeInput) -> None:
    shown = comparability.numbers(make_input(corpus=replace(study.corpus, excluded={})))
    assert "Nothing left out" in markup(comparability, shown)


def test_an_unknown_state_is_in_the_total_only(study: ReportInput, make_input: MakeInput) -> None:
    runs = study.runs.assign(state="hibernating")
    row = comparability.numbers(make_input(runs=runs)).states[0]
    assert (sum(row.counts), row.total) == (0, 8)


QUESTION = QuestionSummary(
    base="ds-gru", claim="LSTM beats GRU.", source="nobody",
    better=(("ds-lstm", "ds-gru"), ("ds-gru", "ds-lstm"), ("ds-gru", "x")),
)  # fmt: skip
DESIGN = StudyDesign(
    method=METHOD, question=QUESTION, findings=(("WER against data", "falls <fast>"),)
)


def test_the_claim_is_answered(study: ReportInput, make_input: MakeInput) -> None:
    shown = comparability.numbers(make_input(design=DESIGN))
    answers = [found for _, found in shown.answers]
    assert answers == ["contradicted", "found", "not compared yet", "falls <fast>"]
    page = markup(comparability, shown)
    assert "LSTM beats GRU." in page
    assert "WER against data:</b> falls &lt;fast&gt;" in page
    assert "The claim" not in markup(comparability, comparability.numbers(study))


def test_a_claim_that_the_data_do_not_decide_is_undecided(
    study: ReportInput, make_input: MakeInput
) -> None:
    pairs = study.pairs.assign(verdict="undecided")
    shown = comparability.numbers(make_input(design=DESIGN, pairs=pairs))
    assert [found for _, found in shown.answers][:2] == ["undecided"] * 2
