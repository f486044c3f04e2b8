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
