import json
import math
from collections.abc import Callable

import pandas as pd
import pytest

from reports import ReportInput
from reports.sections import curves

MakeInput = Callable[..., ReportInput]


def small(make_input: MakeInput, points: list[tuple[str, str, float, float]]) -> ReportInput:
    """The study with no curves but `points`: run, metric, epoch, value."""
    table = pd.DataFrame(points, columns=["run", "metric", "epoch", "value"])
    table = table.assign(step=0, seconds=10 * table["epoch"], audio_hours=math.nan)
    return make_input(curves=table)


def test_confirm_runs_are_drawn(study: ReportInput) -> None:
    shown = curves.numbers(study)
    assert [panel.metric for panel in shown.panels] == [metric for metric, _, _ in curves.METRICS]
    wer = shown.panels[0]
    assert [line.run for line in wer.lines] == [
        f"{variant}/confirm-{slot}" for variant in ("ds-gru", "ds-lstm") for slot in range(3)
    ]
    assert "evenly chosen" not in curves.html(shown)
    assert wer.lines[0].epochs == tuple(range(1, 13))
    assert [(mean.variant, len(mean.epochs)) for mean in wer.means] == [
        ("ds-gru", 11),
        ("ds-lstm", 11),
    ]


def test_the_mean_covers_the_epochs_that_all_runs_reached(make_input: MakeInput) -> None:
    rows = [("ds-gru/confirm-0", "valid/wer", epoch, 0.5 / epoch) for epoch in (1, 2, 3)]
    rows += [("ds-gru/confirm-1", "valid/wer", epoch, 0.7 / epoch) for epoch in (1, 2)]
    (mean,) = curves.numbers(small(make_input, rows)).panels[0].means
    assert mean.epochs == (1, 2)
    assert mean.values == pytest.approx((0.6, 0.3))
    assert mean.seconds == (10, 20)
    assert (mean.low, mean.high) == (pytest.approx((0.5, 0.25)), pytest.approx((0.7, 0.35)))


def test_training_metrics_are_means_over_an_epoch(make_input: MakeInput) -> None:
    run = "ds-gru/confirm-0"
    rows = [(run, "train/loss", epoch, value) for epoch, value in ((0.5, 8), (1.0, 4), (1.5, 3))]
    (panel,) = curves.numbers(small(make_input, rows)).panels
    assert (panel.lines[0].epochs, panel.lines[0].values) == ((1, 2), (6.0, 3.0))


def test_trials_stand_in_for_confirm_runs(make_input: MakeInput) -> None:
    shown = curves.numbers(make_input(num_seeds=0))
    assert shown.sources[0][2].endswith("trials")
    diverged = [line for line in shown.panels[3].lines if line.diverged]
    assert [line.run for line in diverged] == ["ds-gru/trial-003", "ds-lstm/trial-003"]
    assert all(math.isfinite(value) for line in diverged for value in line.values)
    assert "diverged" in curves.html(shown)


def test_a_loss_of_zero_has_no_logarithm(make_input: MakeInput) -> None:
    rows = [("ds-gru/confirm-0", "valid/loss", 1.0, 0.0)]
    (panel,) = curves.numbers(small(make_input, rows)).panels
    assert not panel.is_log
    assert "chart-valid-loss" in curves.html(curves.numbers(small(make_input, rows)))


def test_rates_are_drawn_in_percent(make_input: MakeInput) -> None:
    run = "ds-gru/confirm-0"
    rows = [(run, "valid/wer", 1.0, 0.5), (run, "valid/wer", 2.0, 0.25)]
    page = curves.html(curves.numbers(small(make_input, rows)))
    figure = json.loads(page.split('data-chart="chart-valid-wer">')[1].split("</script>")[0])
    assert figure["data"][0]["y"] == [50.0, 25.0]
    assert figure["data"][0]["x"] == [1, 2]
    assert figure["data"][0]["meta"] == {"seconds": [10, 20], "audio_hours": [None, None]}


def test_only_known_axes_are_offered(make_input: MakeInput, study: ReportInput) -> None:
    assert [field for field, _ in curves.numbers(study).axes] == [f for f, _ in curves.AXES]
    rows = [("ds-gru/confirm-0", "valid/wer", 1.0, 0.5)]
    without_hours = curves.numbers(small(make_input, rows))
    assert [field for field, _ in without_hours.axes] == ["epochs", "seconds"]
    assert "did not log everything" in curves.html(without_hours)


def test_the_trials_of_the_search_wait_to_be_asked_for(study: ReportInput) -> None:
    shown = curves.numbers(study)
    wer = shown.panels[0]
    assert not any(line.is_trial for line in wer.lines)
    assert {line.run for line in wer.trials} >= {"ds-gru/trial-000", "ds-gru/trial-003"}
    page = curves.html(shown)
    assert 'id="curves-trials"' in page
    figure = json.loads(page.split('data-chart="chart-valid-wer">')[1].split("</script>")[0])
    hidden = [trace for trace in figure["data"] if trace.get("visible") is False]
    assert hidden
    assert all(trace["meta"]["is_trials"] for trace in hidden)
    for trace in figure["data"]:
        assert all(len(at) == len(trace["y"]) for at in (trace["x"], trace["meta"]["seconds"]))


def test_many_trials_and_points_are_thinned_and_it_is_said(make_input: MakeInput) -> None:
    rows = [("ds-gru/confirm-0", "valid/wer", float(epoch), 0.5) for epoch in range(1, 401)]
    thin = curves.numbers(small(make_input, rows))
    (line,) = thin.panels[0].lines
    assert (len(line.epochs), line.epochs[0], line.epochs[-1]) == (curves.MAX_POINTS, 1, 400)
    assert "evenly chosen" in curves.html(thin)
    many = curves.numbers(make_input(variants=("ds-gru",), num_trials=90, num_seeds=0))
    assert many.was_thinned
    assert len(many.panels[0].lines) <= curves.MAX_TRIALS
    assert not many.panels[0].means, "trials have different settings: no mean"


def test_no_curves_are_told_in_words(make_input: MakeInput) -> None:
    assert "no curve to draw" in curves.html(curves.numbers(small(make_input, [])))
