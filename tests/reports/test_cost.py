"""Sizes, times and speeds."""

from collections.abc import Callable
from dataclasses import replace

from reports.input import ReportInput
from reports.sections import cost
from tests.reports.drawing import markup
from tests.speed_rows import speed_row

MakeInput = Callable[..., ReportInput]


def test_systems_keep_their_order_and_colours(study: ReportInput) -> None:
    numbers = cost.numbers(study)
    assert [row["system"] for row in numbers.systems] == ["ds-gru", "ds-lstm"]
    first = study.systems.iloc[0]
    assert numbers.systems[0]["search_seconds"] == first["search_seconds"]
    page = markup(cost, numbers)
    assert page.index('"system v0">ds-gru') < page.index('"system v1">ds-lstm')
    assert "has not been measured separately" in page
    assert page.count('aria-label="Pareto-optimal"') == 1


def test_measurements_are_shown_with_units_and_dashes(make_input: MakeInput) -> None:
    row = speed_row(recurrent_fraction_of_matmul_peak=None)
    page = markup(cost, cost.numbers(make_input(speed=(row,))))
    cells = [cell.split("<")[0] for cell in page.split('<td class="n">')]
    expected = [
        "2.6",
        "20",
        "125.1",
        "1.9",
        "1.45",
        "37.1",
        "–",
        "–",
        "4.4",
        "16.3",
        "0.0071",
        "1.38",
        "–",
    ]
    assert [cell for cell in cells if cell in expected] == expected
    assert cells[-2:] == ["1.3", "41.2"]
    assert "forward, % of time" in page


def test_a_measurement_without_baselines_has_dashes(make_input: MakeInput) -> None:
    def num_dashes(**lacking: None) -> int:
        page = markup(cost, cost.numbers(make_input(speed=(speed_row(**lacking),))))
        return [cell.split("<")[0] for cell in page.split('<td class="n">')].count("–")

    lacking = {"family": None, "torch_baseline": None, "workers_ratio": None}
    assert num_dashes(**lacking) == num_dashes() + 3


def test_nothing_trained_gives_a_sentence(study: ReportInput) -> None:
    empty = replace(study, systems=study.systems.iloc[:0])
    assert "No system has been trained." in markup(cost, cost.numbers(empty))
