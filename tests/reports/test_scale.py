import math

import pytest

from reports.scale import MARGIN, WIDTH, Estimate, scale_of


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.096, 0.181], (0.05, 0.1, 0.15, 0.2)),
        ([0.0, 1.0], (0.0, 0.5, 1.0)),
        ([-0.066, 0.0], (-0.08, -0.06, -0.04, -0.02, 0.0)),
    ],
)
def test_ticks_are_round_and_hold_the_values(values: list[float], ticks: tuple[float, ...]) -> None:
    scale = scale_of(values)
    assert scale is not None
    assert scale.ticks == pytest.approx(ticks)
    assert (scale.low, scale.high) == (scale.ticks[0], scale.ticks[-1])


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0, 37.5, -3.0])
def test_one_value_has_an_axis_too(value: float) -> None:
    scale = scale_of([value, math.nan])
    assert scale is not None
    assert scale.low <= value <= scale.high
    assert 2 <= len(scale.ticks) <= 6
    assert MARGIN <= scale.at(value) <= WIDTH - MARGIN


def test_no_values_no_axis() -> None:
    assert scale_of([math.nan]) is None


def test_places_on_the_axis() -> None:
    scale = scale_of([0.0, 1.0])
    assert scale is not None
    assert [scale.at(v) for v in (0.0, 0.5, 1.0)] == [MARGIN, WIDTH / 2, WIDTH - MARGIN]


def test_an_unknown_mean_is_not_known() -> None:
    assert Estimate(0.1, 0.05, math.nan, (0.2,)).values() == [0.1, 0.05, 0.2]
    assert not Estimate(math.nan, 0, 0).known
