"""The bootstrap against closed forms, the golden numbers of NIST's tools, and scipy."""

import numpy as np
import pytest
from scipy import stats

from bench.results.statistics import difference, holm, pooled_rate, rate_interval


def clusters(
    rng: np.random.Generator, num_seeds: int, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    words = rng.integers(50, 150, num_clusters).astype(float)
    return rng.binomial(words.astype(int), 0.2, (num_seeds, num_clusters)).astype(float), words


def test_pooled_rate_is_errors_over_words() -> None:
    errors, words = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 40.0])
    assert pooled_rate(errors, words) == pytest.approx(5 / 50)


def test_one_seed_agrees_with_the_linearised_standard_error() -> None:
    rng = np.random.default_rng(1)
    errors, words = clusters(rng, 1, 60)
    interval = rate_interval(errors, words, rng)
    residuals = errors[0] - pooled_rate(errors, words) * words
    standard_error = np.sqrt((residuals**2).sum()) / words.sum()
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_seeds_widen_the_interval_by_their_own_standard_error() -> None:
    rng = np.random.default_rng(2)
    words = np.full(400, 100.0)
    per_seed = np.array([0.18, 0.20, 0.22])
    errors = per_seed[:, None] * words
    interval = rate_interval(errors, words, rng)
    # All clusters alike: only the seeds vary, and three of them leave few distinct replicates.
    standard_error = per_seed.std(ddof=1) / np.sqrt(3)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * standard_error, rel=0.25)


def test_a_recipe_does_not_differ_from_itself_but_does_from_a_worse_one() -> None:
    rng = np.random.default_rng(3)
    errors, words = clusters(rng, 4, 40)
    same = difference(errors, errors[::-1], words, rng)
    assert same.interval.mean == 0
    assert same.interval.low < 0 < same.interval.high
    assert same.p > 0.5
    worse = difference(errors, errors + 0.1 * words, words, rng)
    assert worse.interval.high < 0
    assert worse.p < 0.001
    assert worse.interval.mean == pytest.approx(-0.1)


def test_the_same_generator_gives_the_same_interval() -> None:
    errors, words = clusters(np.random.default_rng(4), 3, 20)
    twice = [rate_interval(errors, words, np.random.default_rng(5)) for _ in range(2)]
    assert twice[0] == twice[1]


def test_holm_by_hand_and_by_scipys_bonferroni_bound() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    p_values = stats.uniform.rvs(size=20, random_state=0)
    assert all(p <= h <= min(1, 20 * p) for p, h in zip(p_values, holm(p_values), strict=True))
    # Golden: Holm over the three MAPSSWE p-values of shared/golden.
    golden = holm([0.002163, 3.3e-14, 2.01e-05])
    assert golden == pytest.approx([0.00216, 9.83e-14, 4.03e-05], rel=0.01)
