import json
import math
from collections.abc import Callable

import pandas as pd
import pytest

from reports.input import ReportInput
from reports.sections import curves
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def small(make_input: MakeInput, points: list[tuple[str, str, float, float]]) -> ReportInput:
    """The study with no curves but `points`: run, metric, epoch, value."""
    table = pd.DataFrame(points, columns=["run", "metric", "epoch", "value"]).assign(step=0)
    table = table.assign(seconds=10.0 * table["epoch"].astype(float), audio_hours=math.nan)
    return make_input(curves=table)


def test_confirm_runs_are_drawn(study: ReportInput) -> None:
    shown = curves.numbers(study)
    assert [panel.metric for panel in shown.panels] == [metric for metric, _, _ in curves.METRICS]
    wer = shown.panels[0]
    assert [line.run for line in wer.lines] == [
        f"{system}/confirm-{slot}" for system in ("ds-gru", "ds-lstm") for slot in range(3)
    ]
    assert wer.lines[0].epochs == tuple(range(1, 13))
    assert [(mean.system, len(mean.epochs)) for mean in wer.means] == [
        ("ds-gru", 11),
        ("ds-lstm", 11),
    ]


def test_the_mean_covers_the_epochs_that_all_runs_reached(make_input: MakeInput) -> None:
    rows = [("ds-gru/confirm-0", "valid/wer", epoch, 0.5 / epoch) for epoch in (1, 2, 3)]
    rows += [("ds-gru/confirm-1", "valid/wer", epoch, 0.7 / epoch) for epoch in (1, 2)]
    (mean,) = curves.numbers(small(make_input, rows)).panels[0].means
    assert mean.epochs == (1, 2)
    assert mean.values == pytest.approx((0.6, 0.3))
    assert (mean.low, mean.high) == ((0.5, 0.25), (0.7, 0.35))
    assert mean.seconds == (10.0, 20.0)


def test_training_metrics_are_means_over_an_epoch(make_input: MakeInput) -> None:
    run = "ds-gru/confirm-0"
    rows = [(run, "train/loss", epoch, value) for epoch, value in ((0.5, 8), (1.0, 4), (1.5, 3))]
    (panel,) = curves.numbers(small(make_input, rows)).panels
    assert (panel.lines[0].epochs, panel.lines[0].values) == ((1, 2), (6.0, 3.0))


def test_curves_stand_against_what_their_runs_logged(
    study: ReportInput, make_input: MakeInput
) -> None:
    shown = curves.numbers(study)
    assert [field for field, _ in shown.axes] == ["epochs", "seconds", "audio_hours"]
    assert shown.has_trials
    line = shown.panels[0].lines[0]
    assert (line.seconds[0], line.audio_hours[0]) == (31.7, 0.75)
    few = curves.numbers(small(make_input, [("ds-gru/confirm-0", "valid/wer", 1.0, 0.5)]))
    assert [field for field, _ in few.axes] == ["epochs", "seconds"]
    assert "did not log everything" in " ".join(markup(curves, few).split())


def test_many_points_and_trials_are_thinned_with_a_note(
    make_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MAX_POINTS", 5)
    monkeypatch.setattr(curves, "MAX_TRIALS", 2)
    shown = curves.numbers(make_input())
    assert shown.was_thinned
    assert shown.panels[0].lines[0].epochs[:1] + shown.panels[0].lines[0].epochs[-1:] == (1, 12)
    assert all(len(line.epochs) <= 5 for line in shown.panels[0].lines)
    assert "evenly chosen" in markup(curves, shown)


def test_the_trials_of_the_search_wait_to_be_asked_for(study: ReportInput) -> None:
    shown = curves.numbers(study)
    assert not any(line.is_trial for line in shown.panels[0].lines)
    page = markup(curves, shown)
    assert 'id="curves-trials"' in page
    figure = json.loads(page.split('data-chart="chart-valid-wer">')[1].split("</script>")[0])
    hidden = [trace for trace in figure["data"] if trace.get("visible") is False]
    assert {slot for trace in hidden for slot in trace.get("customdata", ())} >= {0, 7, None}
    assert all(trace["meta"]["is_trials"] for trace in hidden)
    for trace in figure["data"]:
        for at in (trace["x"], trace["meta"]["seconds"], trace["meta"]["audio_hours"]):
            assert len(at) == len(trace["y"])


def test_trials_stand_in_for_confirm_runs(make_input: MakeInput) -> None:
    shown = curves.numbers(make_input(num_seeds=0))
    assert shown.sources[0][1].endswith("trials")
    assert not shown.panels[0].means, "trials have different settings: no mean"
    assert not shown.has_trials
    diverged = [line for line in shown.panels[3].lines if line.diverged]
    assert [line.run for line in diverged] == ["ds-gru/trial-003", "ds-lstm/trial-003"]
    assert all(math.isfinite(value) for line in diverged for value in line.values)
    assert "diverged" in markup(curves, shown)


def test_losses_of_different_units_do_not_compare(make_input: MakeInput) -> None:
    said = "losses do not compare between them"
    assert said not in markup(curves, curves.numbers(make_input()))
    configs = {"ds-gru": {"units.num_pieces": 0}, "ds-lstm": {"units.num_pieces": 64}}
    assert said in markup(curves, curves.numbers(make_input(configs=configs)))
    same = {"ds-gru": {"units.num_pieces": 64}, "ds-lstm": {"units.num_pieces": 64}}
    assert said not in markup(curves, curves.numbers(make_input(configs=same)))


def test_a_loss_of_zero_has_no_logarithm(make_input: MakeInput) -> None:
    rows = [("ds-gru/confirm-0", "valid/loss", 1.0, 0.0)]
    (panel,) = curves.numbers(small(make_input, rows)).panels
    assert not panel.is_log
    assert "chart-valid-loss" in markup(curves, curves.numbers(small(make_input, rows)))


def test_rates_are_drawn_in_percent(make_input: MakeInput) -> None:
    run = "ds-gru/confirm-0"
    rows = [(run, "valid/wer", 1.0, 0.5), (run, "valid/wer", 2.0, 0.25)]
    page = markup(curves, curves.numbers(small(make_input, rows)))
    figure = json.loads(page.split('data-chart="chart-valid-wer">')[1].split("</script>")[0])
    assert figure["data"][0]["y"] == [50.0, 25.0]


def test_no_curves_give_a_sentence(make_input: MakeInput) -> None:
    assert "no curve to draw" in markup(curves, curves.numbers(small(make_input, [])))
