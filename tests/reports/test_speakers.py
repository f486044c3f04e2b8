from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from reports.input import ReportInput
from reports.sections import speakers
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_rates_are_means_over_seeds_hardest_first(study: ReportInput) -> None:
    shown = speakers.numbers(study)
    assert len(shown.speakers) == 6
    means = [sum(row.wers) / 2 for row in shown.speakers]
    assert means == sorted(means, reverse=True)
    row = shown.speakers[0]
    own = study.utterances[
        (study.utterances["speaker"] == row.speaker) & (study.utterances["system"] == "ds-lstm")
    ]
    rates = [
        run[["substitutions", "deletions", "insertions"]].to_numpy().sum()
        / run["num_ref_words"].sum()
        for _, run in own.groupby("run")
    ]
    assert row.wers[1] == pytest.approx(sum(rates) / 3)
    assert (row.num_utterances, row.num_words) == (8, own["num_ref_words"].sum() / 3)


def test_signs_are_counted_against_the_baseline(study: ReportInput) -> None:
    (sign,) = speakers.numbers(study).signs
    rows = speakers.numbers(study).speakers
    assert sign.system == "ds-lstm"
    assert sign.num_better == sum(row.wers[1] < row.wers[0] for row in rows)
    assert sign.num_better + sign.num_worse <= 6


@pytest.mark.parametrize(("better", "worse"), [(0, 6), (3, 3), (9, 2), (1, 0)])
def test_the_sign_test_agrees_with_scipy(better: int, worse: int) -> None:
    expected = binomtest(better, better + worse).pvalue
    assert speakers.sign_test(better, worse) == pytest.approx(expected)


def test_many_speakers_fold_away_and_hostile_names_are_text(study: ReportInput) -> None:
    many = study.utterances.assign(speaker=[f"s{n % 40}" for n in range(len(study.utterances))])
    page = markup(speakers, speakers.numbers(replace(study, utterances=many)))
    assert "10 easier speakers" in page.replace("\N{NO-BREAK SPACE}", " ")
    evil = '"><script>x</script>\u202e' + "y" * 10_000
    page = markup(
        speakers, speakers.numbers(replace(study, utterances=study.utterances.assign(speaker=evil)))
    )
    assert "<script" not in page


def test_nothing_scored_gives_a_sentence(make_input: MakeInput) -> None:
    page = markup(speakers, speakers.numbers(make_input(num_seeds=0)))
    assert "there are no rates per speaker" in page
