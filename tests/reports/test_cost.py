"""Sizes, times and speeds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reports import ReportInput
from reports.input import COLUMNS
from reports.sections import cost

MakeInput = Callable[..., ReportInput]

ROW: dict[str, Any] = {
    "variant": "ds-gru", "width": 256, "device": "cpu", "utterance_seconds": 2.63,
    "batch_seconds": 20.0, "audio_seconds_per_second": 125.14, "ratio": 1.94,
    "plain_ratio": 1.446, "fraction_of_matmul_peak": 0.371,
    "recurrent_fraction_of_matmul_peak": None, "padding_share": 0.044,
    "peak_memory_bytes": 897_000_000, "latency_seconds": 0.0163, "real_time_factor": 0.0071,
    "workers_ratio": 1.38, "shares": {"data": 0.013, "forward": 0.412},
}  # fmt: skip


def test_variants_keep_their_order_and_colours(study: ReportInput) -> None:
    numbers = cost.numbers(study)
    assert [(row.variant, row.tone) for row in numbers.variants] == [("ds-gru", 0), ("ds-lstm", 1)]
    first = study.variants.iloc[0]
    assert numbers.variants[0].search_seconds == first["search_seconds"]
    page = cost.html(numbers)
    assert "has not been measured separately" in page
    assert page.count('aria-label="Pareto-optimal"') == 1


def test_measurements_are_shown_with_units_and_dashes(make_input: MakeInput) -> None:
    speed = pd.DataFrame([ROW], columns=COLUMNS["speed"])
    page = cost.html(cost.numbers(make_input(speed=speed)))
    cells = [cell.split("<")[0] for cell in page.split('<td class="n">')]
    expected = ["2.6", "20", "125.1", "1.9", "1.45", "37.1", "–", "4.4", "16.3", "0.0071", "1.38"]
    assert [cell for cell in cells if cell in expected] == expected
    assert cells[-2:] == ["1.3", "41.2"]
    assert "forward, % of time" in page


def test_nothing_trained_is_told_in_words(study: ReportInput) -> None:
    empty = replace(study, variants=study.variants.iloc[:0])
    assert "No variant has been trained." in cost.html(cost.numbers(empty))


@pytest.mark.parametrize("missing", ["shares", "ratio"])
def test_a_measurement_needs_its_columns(missing: str, make_input: MakeInput) -> None:
    speed = pd.DataFrame([ROW]).drop(columns=missing)
    with pytest.raises(AssertionError, match=missing):
        make_input(speed=speed)
