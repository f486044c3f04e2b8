import pytest

from reports.charts import evenly, log_ticks, whole_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 8, [0.5, 1, 2, 5]),
        (8e-4, 3e-3, [8e-4, 9e-4, 1e-3, 2e-3, 3e-3]),
        (2.9, 4.2, [3, 3.5, 4]),
        (4.1, 4.4, [4.1, 4.2, 4.3, 4.4]),
        (4.11, 4.14, []),
    ],
)
def test_a_logarithmic_axis_has_ticks_however_short_it_is(
    low: float, high: float, ticks: list[float]
) -> None:
    assert log_ticks(low, high) == ticks


def test_ticks_go_on_beyond_the_values_at_the_distance_that_suits_these() -> None:
    assert log_ticks(1, 5, beyond=2) == [0.5, 1, 2, 5, 10]
    assert log_ticks(2.9, 4.2, beyond=2)[:3] == [1.5, 2, 2.5]


def test_what_is_thinned_keeps_both_ends() -> None:
    kept = evenly(1000, 60)
    assert len(kept) == 60 == len(set(kept))
    assert (kept[0], kept[-1]) == (0, 999)
    assert evenly(3, 60) == [0, 1, 2]


@pytest.mark.parametrize(("most", "step"), [(1, 1), (2, 1), (10, 1), (11, 2), (95, 10)])
def test_counts_have_whole_ticks(most: int, step: int) -> None:
    assert whole_ticks(most) == {"tick0": 0, "dtick": step}
