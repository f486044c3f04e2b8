"""How a pair ends, and what would decide it."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats.component import Component
from bench.stats.estimate import Estimate
from bench.stats.variance import Split, estimate_systems
from bench.stats.verdict import MARGIN, Verdicts, deciding_power, judge, remedy

WORDS = np.full(40, 200.0)


def judged(*rates: list[float], margin: float = MARGIN, claims: tuple[int, ...] = ()) -> Verdicts:
    """Systems whose runs have these rates, speakers differing alike for all."""
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.8, 1.2, WORDS.size)
    errors = [
        rng.binomial(WORDS.astype(int), np.clip(np.array(own)[:, None] * hard, 0, 1)).astype(float)
        for own in rates
    ]
    pairs = len(rates) * (len(rates) - 1) // 2
    systems = estimate_systems(errors, WORDS, rng)
    return judge(systems, np.isin(np.arange(pairs), claims), margin)


def test_each_pair_ends_in_one_of_three_ways() -> None:
    close, wide = [0.20, 0.201, 0.199, 0.2], [0.12, 0.3, 0.25, 0.15]
    found = judged(close, [0.4, 0.41, 0.39, 0.4])
    assert (bool(found.different[0]), bool(found.equivalent[0])) == (True, False)
    found = judged(close, close, margin=0.05)
    assert (bool(found.different[0]), bool(found.equivalent[0])) == (False, True)
    assert abs(found.estimate.value[0]) + found.half_width[0] < 0.05
    assert found.coverage[0] == pytest.approx(0.9), "two one-sided tests at 5 %"
    found = judged(close, wide)
    assert not found.different[0]
    assert not found.equivalent[0]
    assert found.coverage[0] == pytest.approx(0.95)


def test_no_verdict_contradicts_its_interval() -> None:
    rng = np.random.default_rng(3)
    shape = (3000, 4, 4, 12)
    rates = 0.2 + rng.normal(0, 0.02, (3000, 4, 4, 1)) + 0.02 * np.arange(4)[:, None, None]
    errors = rng.poisson(np.clip(rates, 0.01, 1) * 150 * np.ones(shape)).astype(float)
    systems = estimate_systems([errors[:, v] for v in range(4)], np.full(12, 150.0), rng)
    found = judge(systems, np.isin(np.arange(6), [0]), 0.03)
    low = found.estimate.value - found.half_width
    high = found.estimate.value + found.half_width
    excludes_zero = (low > 0) | (high < 0)
    inside = (low > -0.03) & (high < 0.03)
    assert (found.different == (excludes_zero & ~found.equivalent)).all()
    assert (inside | ~found.equivalent).all()
    assert (found.different == (found.p_adjusted < 0.05)).all()
    assert {bool(x) for x in found.different.ravel()} == {True, False}
    assert found.equivalent.any()
    assert not (found.different & found.equivalent).any()


def test_what_does_not_vary_is_unknown() -> None:
    same = np.full((1, 40), 20.0)
    rng = np.random.default_rng(0)
    found = judge(estimate_systems([same, same + 1], WORDS, rng), np.zeros(1, bool))
    assert np.isnan([found.p[0], found.p_adjusted[0], found.half_width[0]]).all()
    assert not found.different[0]
    assert not found.equivalent[0]
    one = judge(estimate_systems([same[:, :1], same[:, :1] + 5], WORDS[:1], rng), np.zeros(1, bool))
    assert np.isnan(one.p[0])


def test_the_minimum_detectable_effect_has_its_power_at_the_adjusted_level() -> None:
    component = Component.of(np.array(0.01**2), 12.0)
    effect = Estimate(np.array(0.0), [component]).minimum_detectable_effect(0.01)
    power = stats.t.sf(stats.t.ppf(0.995, 12) - effect / 0.01, 12)
    assert power == pytest.approx(0.8)


def test_the_wider_of_two_variances_counts() -> None:
    narrow, wide = Component.of(np.array(1e-4), 20.0), Component.of(np.array(4e-4), 3.0)
    unknown = Component.of(np.array(np.nan), 3.0)
    both = Estimate(np.array(0.05), [narrow, wide])
    alone = Estimate(np.array(0.05), [unknown, wide])
    assert both.half_width(0.05) == alone.half_width(0.05) == stats.t.ppf(0.975, 3) * 0.02
    assert both.p() == pytest.approx(2 * stats.t.sf(2.5, 3))
    assert math.isnan(Estimate(np.array(0.05), [unknown]).p())


def split(by_test_set: float, by_seeds: float, by_interaction: float) -> Split:
    nothing = Component.of(np.array(0.0), 11.0)
    total = Component.of(np.array(by_test_set + by_seeds + by_interaction), 20.0)
    runs = Component.of(np.array(by_seeds + by_interaction), 24.0)
    parts = (np.array(by_test_set), np.array(by_seeds), np.array(by_interaction))
    return Split(total, *parts, nothing, runs)


def test_seeds_that_would_decide() -> None:
    found = remedy(0.05, split(1e-6, 0.025**2, 0.0), 0.05, 0.02, 5, 12)
    assert found.num_seeds
    # With so many the power is there, with one fewer it is not: by simulation.
    rng = np.random.default_rng(0)
    for seeds, enough in ((found.num_seeds, True), (found.num_seeds - 2, False)):
        df = 24 * (seeds - 1) / 4
        se = np.sqrt(0.025**2 * 5 / seeds * rng.chisquare(df, 20_000) / df)
        estimates = 0.05 + rng.normal(0, np.sqrt(0.025**2 * 5 / seeds + 1e-6), 20_000)
        share = (np.abs(estimates) > stats.t.ppf(0.975, df) * se).mean()
        assert (share > 0.79) == enough


def test_no_number_of_seeds_helps_where_speakers_are_the_limit() -> None:
    found = remedy(0.03, split(0.02**2, 1e-6, 0.0), 0.05, 0.02, 5, 12)
    assert found.num_seeds is None
    assert found.num_clusters
    assert 20 < found.num_clusters < 100
    none = remedy(0.02, split(0.02**2, 0.02**2, 0.0), 0.05, 0.02, 5, 12)
    assert (none.num_seeds, none.num_clusters) == (None, None)


def test_a_small_difference_is_decided_by_equivalence() -> None:
    assert remedy(0.0, split(1e-7, 0.01**2, 0.0), 0.05, 0.02, 5, 12).num_seeds
    assert remedy(0.0, split(1e-7, 0.01**2, 0.0), 0.05, 0.0001, 5, 12).num_seeds is None


@pytest.mark.parametrize(("delta", "se"), [(0.0, 0.006), (0.01, 0.006), (0.03, 0.01), (0.0, 0.05)])
def test_deciding_power_by_simulation(delta: float, se: float) -> None:
    df, level, margin = 15, 0.02, 0.02
    estimates = delta + se * np.random.default_rng(0).standard_t(df, 200_000)
    beyond, inner = stats.t.ppf(1 - level / 2, df) * se, stats.t.ppf(1 - level, df) * se
    decided = (np.abs(estimates) > beyond) | (np.abs(estimates) + inner < margin)
    found = deciding_power(delta, se**2, df, level, margin)
    assert found == pytest.approx(decided.mean(), abs=0.005)
