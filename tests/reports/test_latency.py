"""WER against what a user waits for."""

from dataclasses import replace

import pandas as pd
import pytest

from reports.input import ReportInput
from reports.sections import latency, tradeoffs
from tests.latency_rows import latency_row
from tests.reports.drawing import markup


@pytest.fixture
def timed(study: ReportInput) -> ReportInput:
    rows = (
        latency_row(),
        latency_row(run="ds-gru/confirm-001", compute_p50_ms=5.25, look_ahead_ms=155.0),
        latency_row(
            system="ds-lstm",
            run="ds-lstm/confirm-000",
            cannot_stream="its backward direction begins at the end",
            emission_p50_ms=None,
            emission_p90_ms=None,
            user_perceived_ms=None,
        ),
        latency_row(system="no longer there"),
    )
    points = [
        {"cost": "user_perceived_ms", "system": system, "value": value, "pareto_optimal": best}
        | {"reference_wer": 0.2, "reference_cost": 1_000.0, "hypervolume": 0.3}
        for system, value, best in (("ds-gru", 168.25, True), ("ds-lstm", 900.0, False))
    ]
    table = pd.concat([study.tradeoffs, pd.DataFrame(points)], ignore_index=True)
    return replace(study, latency=rows, tradeoffs=table)


def test_runs_of_a_system_are_averaged(timed: ReportInput) -> None:
    found = latency.numbers(timed)
    gru, lstm = found.systems
    assert (gru.mean.system, gru.num_runs, gru.mean.compute_p50_ms, gru.mean.look_ahead_ms) == ("ds-gru", 2, 4.25, 155.0)  # fmt: skip
    assert (gru.mean.user_perceived_ms, lstm.mean.user_perceived_ms) == (168.25, None)
    assert found.tradeoff is not None
    assert found.tradeoff.pareto_optimal == ("ds-gru",)


def test_the_page_shows_the_parts_of_the_wait(timed: ReportInput) -> None:
    page = markup(latency, latency.numbers(timed))
    assert "Pareto-optimal, from the shortest wait: <b>ds-gru</b>." in page
    assert "does not stream" in page
    assert "audio in chunks of 100 ms" in page
    assert page.count('<td class="n">–</td>') == 3
    assert "Test WER against user-perceived latency" in page


def test_the_costs_of_a_study_are_drawn_without_it(timed: ReportInput) -> None:
    assert [each.cost for each in tradeoffs.numbers(timed).tradeoffs] == ["num_parameters", "train_seconds"]  # fmt: skip


def test_one_system_is_a_table_without_a_drawing(study: ReportInput) -> None:
    page = markup(latency, latency.numbers(replace(study, latency=(latency_row(),))))
    assert "User waits, ms" in page
    assert "Pareto" not in page


def test_a_study_without_measurements_names_the_command(study: ReportInput) -> None:
    page = markup(latency, latency.numbers(study))
    assert "python -m bench.speed --latency --study NAME" in page
