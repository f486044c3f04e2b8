import pytest

from bench.study.edges import edges, end_of
from bench.study.space import Dimension

RATE = Dimension(low=0.0004, high=0.0064, log=True, default=0.0016)
"""Four octaves: the outermost tenths reach 0.4 octaves in, to 0.00053 and 0.00485."""
FILES = {"optim.learning_rate": "sweeps/base.toml"}


@pytest.mark.parametrize(
    ("value", "end"),
    [(0.0004, "lower"), (0.00052, "lower"), (0.00054, ""), (0.0048, ""), (0.0049, "upper")],
)
def test_the_ends_of_a_logarithmic_range(value: float, end: str) -> None:
    assert end_of(RATE, value) == end


def test_the_ends_of_other_dimensions() -> None:
    share = Dimension(low=0.1, high=0.5, default=0.2)
    assert [end_of(share, value) for value in (0.13, 0.15, 0.45, 0.47)] == [
        "lower",
        "",
        "",
        "upper",
    ]
    bins = Dimension(low=0, high=8, default=0)
    assert [end_of(bins, value) for value in (0, 4, 8)] == ["", "", "upper"], "none is below zero"
    assert end_of(Dimension(low=0.1, high=0.5, default=0.2, firm=True), 0.5) == ""
    assert end_of(Dimension(choices=(1, 2), default=1), 2) == ""


def test_an_edge_says_what_to_do() -> None:
    key = "optim.learning_rate"
    (sentence,) = edges("gru", {key: RATE}, FILES, {key: 0.006}, slot=3)
    assert sentence == (
        "the best trial of gru lies at the upper edge of optim.learning_rate (0.006 of 0.0004 to "
        "0.0064, log): widen the range in sweeps/base.toml before calling it better or worse"
    )


def test_the_first_trial_lies_at_no_edge() -> None:
    narrow = Dimension(low=0.0004, high=0.0064, log=True, default=0.0064)
    given = "gru", {"a": narrow}, {"a": "base.toml"}
    assert not list(edges(*given, {"a": 0.0064}, slot=0))
    assert list(edges(*given, {"a": 0.0064}, slot=1))
    assert not list(edges(*given, {}, slot=1))
