import math

import numpy as np
import pytest

from bench.results.search_curves import best_so_far, expected_best

VALUES = np.array([0.30, 0.25, 0.42, 0.28, 0.35, 0.31, 0.29, 0.50, 0.27, 0.33])


def test_golden_expected_best() -> None:
    trials = (1, 2, 5, 10)
    biased = [expected_best(VALUES, n, "biased") for n in trials]
    assert biased == pytest.approx([0.33, 0.2922, 0.26813, 0.2584], abs=5e-5)
    unbiased = [expected_best(VALUES, n) for n in trials]
    assert unbiased == pytest.approx([0.33, 0.288, 0.26333, 0.25], abs=5e-6)


def test_expected_best_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile(VALUES, (50_000, 1)), axis=1)[:, :3]
    assert expected_best(VALUES, 3) == pytest.approx(drawn.min(axis=1).mean(), abs=5e-4)
    drawn = rng.choice(VALUES, (50_000, 3))
    assert expected_best(VALUES, 3, "biased") == pytest.approx(drawn.min(axis=1).mean(), abs=5e-4)


def test_a_failed_trial_counts_as_the_worst() -> None:
    values = np.array([0.2, math.nan, 0.4])
    assert expected_best(values, 1) == math.inf
    # Of the three pairs, two hold 0.2 and one is 0.4 and the failure.
    assert expected_best(values, 2) == pytest.approx((0.2 + 0.2 + 0.4) / 3)
    assert expected_best(values, 3) == pytest.approx(0.2)


def test_best_so_far_keeps_its_order_and_its_gaps() -> None:
    found = best_so_far(np.array([math.nan, 0.5, 0.6, math.nan, 0.3]))
    assert math.isnan(found[0])
    assert found[1:].tolist() == [0.5, 0.5, 0.5, 0.3]
