"""Intervals of single rates, and the plain ones of other tools."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from bench.results.pairs import SystemRuns
from bench.stats.clusters import cluster_sums
from bench.stats.intervals import (
    log_interval,
    plain_intervals,
    standard_errors,
    wilson_interval,
)

STANDARD_ERRORS = {"id": (0.0101, 0.0107, 0.0152), "speaker": (0.0172, 0.0178, 0.0294)}
INTERVALS = {
    "id": ((0.0157, 0.0684), (0.0785, 0.1387), (0.0359, 0.0968)),
    "speaker": ((0.0150, 0.0658), (0.0723, 0.1453), (0.0382, 0.0920)),
}
"""By another tool's bootstrap."""


@pytest.mark.parametrize("by", INTERVALS)
def test_golden_intervals(golden: list[SystemRuns], by: str) -> None:
    frames = [o.runs[0] for o in golden]
    kinds = ["substitutions", "deletions", "insertions"]
    of = frames[0][by].to_numpy(dtype=str)
    errors = cluster_sums(np.stack([f[kinds].sum(axis=1).to_numpy(float) for f in frames]), of)
    words = cluster_sums(frames[0]["num_ref_words"].to_numpy(float)[None], of)[0]
    low, high = plain_intervals(errors, words, np.random.default_rng(0))
    for pair, known in zip(combinations(range(3), 2), INTERVALS[by], strict=True):
        assert (low[pair], high[pair]) == pytest.approx(known, abs=0.0012)
        assert (-high[pair[::-1]], -low[pair[::-1]]) == pytest.approx(known, abs=0.0012)
    found = standard_errors(errors, words, np.random.default_rng(0))
    assert found.tolist() == pytest.approx(STANDARD_ERRORS[by], rel=0.025)


@pytest.mark.parametrize(("wrong", "units"), [(0, 300), (1, 300), (150, 300), (300, 300)])
def test_wilson_is_that_of_statsmodels(wrong: int, units: int) -> None:
    expected = proportion_confint(wrong, units, method="wilson")
    assert wilson_interval(wrong, units) == pytest.approx(expected, abs=1e-12)


def test_a_log_interval_is_never_below_zero_and_even_in_ratios() -> None:
    low, high = log_interval(0.01, 0.02, 3)
    assert 0 < low < 0.01 < high
    assert low * high == pytest.approx(0.01**2)
    # With a small standard error it is Student's.
    half = stats.t.ppf(0.975, 9) * 1e-6
    assert log_interval(0.2, 1e-6, 9) == pytest.approx((0.2 - half, 0.2 + half), rel=1e-9)


def test_an_interval_that_spans_four_orders_of_magnitude_is_unknown() -> None:
    """Two speakers have one degree of freedom, whose t quantile is 12.7."""
    assert np.isnan(log_interval(0.056, 0.062, 1.0)).all()
    low, high = log_interval(0.056, 0.01, 1.0)
    assert low < 0.056 < high < 1
