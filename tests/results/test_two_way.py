"""The two-way bootstrap against closed forms; what its intervals cover is test_coverage.py's."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.results.two_way import (
    Component,
    all_differences,
    difference,
    probability_of_improvement,
    rate,
    resample_recipes,
)

WORDS = np.random.default_rng(9).integers(50, 150, 30).astype(float)


def runs(seed: int, per_seed: list[float], words: np.ndarray = WORDS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.binomial(words.astype(int), np.array(per_seed)[:, None]).astype(float)


def test_one_run_has_the_linearised_error_of_its_speakers() -> None:
    errors = runs(0, [0.2])
    (recipe,) = resample_recipes([errors], WORDS, np.random.default_rng(0))
    found, size = rate(recipe), WORDS.size
    residuals = errors[0] - errors.sum() / WORDS.sum() * WORDS
    linearised = np.sqrt(size / (size - 1) * (residuals**2).sum()) / WORDS.sum()
    assert found.standard_error == pytest.approx(linearised, rel=0.03)
    assert found.degrees_of_freedom == pytest.approx(size - 1)
    half = stats.t.ppf(0.975, size - 1) * found.standard_error
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert (found.from_seeds, found.from_test_set) == (0, 1)
    assert math.isnan(found.from_search)


def test_seeds_alone_give_students_t() -> None:
    words = np.full(200, 100.0)
    per_seed = np.array([0.18, 0.20, 0.22])
    (recipe,) = resample_recipes([per_seed[:, None] * words], words, np.random.default_rng(0))
    found = rate(recipe)
    assert found.standard_error == pytest.approx(per_seed.std(ddof=1) / np.sqrt(3), rel=0.03)
    assert found.degrees_of_freedom == pytest.approx(2)
    assert found.from_seeds == pytest.approx(1)


def test_welch_is_the_case_of_two_recipes_whose_seeds_alone_differ() -> None:
    words = np.full(50, 100.0)
    a, b = np.array([0.18, 0.20, 0.23]), np.array([0.25, 0.24, 0.28, 0.35])
    recipes = resample_recipes(
        [a[:, None] * words, b[:, None] * words], words, np.random.default_rng(0), 40_000
    )
    found = difference(*recipes)
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert found.value == pytest.approx(b.mean() - a.mean())
    assert found.p == pytest.approx(welch.pvalue, rel=0.03)
    interval = welch.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.002)


def test_parts_are_those_of_the_analysis_of_variance() -> None:
    rng, num_runs, words = np.random.default_rng(1), 4, np.full(25, 1000.0)
    speakers, seeds = rng.normal(0, 20, 25), rng.normal(0, 15, (num_runs, 1))
    errors = 200 + speakers + seeds + rng.normal(0, 10, (num_runs, 25))
    (recipe,) = resample_recipes([errors], words, np.random.default_rng(0), 40_000)
    found, rates = rate(recipe), errors / 1000
    by_run = rates.mean(axis=1).var(ddof=1) / num_runs
    by_speaker = rates.mean(axis=0).var(ddof=1) / 25
    rest = rates - rates.mean(axis=1, keepdims=True) - rates.mean(axis=0) + rates.mean()
    interaction = (rest**2).sum() / (3 * 24) / (num_runs * 25)
    total = by_run + by_speaker - interaction
    assert found.total.variance == pytest.approx(total, rel=0.02)
    noise = by_run**2 / 3 + by_speaker**2 / 24 + interaction**2 / (3 * 24)
    assert found.degrees_of_freedom == pytest.approx(total**2 / noise, rel=0.05)
    assert found.from_seeds == pytest.approx((by_run - interaction) / total, rel=0.05)
    assert found.from_interaction == pytest.approx(interaction / total, rel=0.05)
    assert found.from_seeds + found.from_test_set + found.from_interaction == pytest.approx(1)


def test_a_recipe_does_not_differ_from_its_copy_but_does_from_a_worse_one() -> None:
    errors = runs(2, [0.2, 0.21, 0.19, 0.2])
    a, copy, worse = resample_recipes(
        [errors, errors[::-1], errors + 0.1 * WORDS], WORDS, np.random.default_rng(0)
    )
    same, found = difference(a, copy), difference(a, worse)
    assert (same.value, same.p) == (pytest.approx(0), 1)
    assert same.low < 0 < same.high
    assert found.value == pytest.approx(0.1)
    assert found.low > 0
    assert found.p < 0.001


def test_two_single_runs_alike_in_every_error_differ_by_nothing_for_sure() -> None:
    errors = runs(3, [0.2])
    found = difference(*resample_recipes([errors, errors], WORDS, np.random.default_rng(0)))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_and_interval_agree_and_the_smallest_gap_has_its_power() -> None:
    a, b = resample_recipes(
        [runs(4, [0.2, 0.22, 0.24]), runs(5, [0.24, 0.25, 0.27])], WORDS, np.random.default_rng(0)
    )
    found = difference(a, b)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    df, se = found.degrees_of_freedom, found.standard_error
    power = stats.t.cdf(found.smallest_gap / se - stats.t.ppf(0.975, df), df)
    assert power == pytest.approx(0.8)


def test_a_pair_whose_seeds_agree_by_luck_is_doubted() -> None:
    words = np.full(40, 1000.0)
    calm, wild = runs(6, [0.200, 0.200, 0.200], words), runs(7, [0.1, 0.2, 0.3], words)
    other = runs(8, [0.213, 0.213, 0.213], words)
    recipes = resample_recipes([calm, other, wild], words, np.random.default_rng(0))
    own, cautious = all_differences(recipes)[0, 1]
    assert own.p < 0.01
    assert cautious > 0.3
    # Alone with each other there is nothing to pick from.
    own, cautious = all_differences(recipes[:2])[0, 1]
    assert cautious == pytest.approx(own.p)


def test_probability_of_improvement() -> None:
    words = np.full(40, 1000.0)
    good, bad, between = (
        words * np.array(rates)[:, None] for rates in ([0.1, 0.1], [0.3, 0.3], [0.1, 0.3])
    )
    a, b, c = resample_recipes([good, bad, between], words, np.random.default_rng(0))
    assert probability_of_improvement(a, b) == 1
    assert probability_of_improvement(b, a) == 0
    assert probability_of_improvement(a, a) == 0.5
    # One seed of c ties, the other loses.
    assert probability_of_improvement(a, c) == pytest.approx(0.75, abs=0.02)


def test_several_searches_take_the_place_of_the_runs() -> None:
    words = np.full(60, 1000.0)
    errors = np.array([[0.20], [0.21], [0.26], [0.27], [0.23], [0.24]]) * words
    named = [["x", "x", "y", "y", "z", "z"]]
    (recipe,) = resample_recipes([errors], words, np.random.default_rng(0), searches=named)
    found = rate(recipe)
    of_search = np.array([0.205, 0.265, 0.235])
    assert found.value == pytest.approx(of_search.mean())
    assert found.total.variance == pytest.approx(of_search.var(ddof=1) / 3, rel=0.03)
    assert found.degrees_of_freedom == pytest.approx(2)
    seeds = 0.01**2 / 2 / 2 / 3  # var / S over J
    assert found.from_seeds == pytest.approx(seeds / found.total.variance)
    assert found.from_search == pytest.approx(1 - found.from_seeds)


def test_noise_adds_up_as_satterthwaite_has_it() -> None:
    found = Component.of(2.0, 4) + Component.of(3.0, 9) - Component.of(1.0, 10) * 0.5
    assert found.variance == 4.5
    assert found.noise == pytest.approx(4 / 4 + 9 / 9 + 0.25 / 10)
    assert Component.of(5.0, 0) == Component(0, 0)


def test_the_same_generator_gives_the_same_numbers() -> None:
    errors = [runs(1, [0.1, 0.2]), runs(2, [0.2, 0.3])]
    twice = [
        difference(*resample_recipes(errors, WORDS, np.random.default_rng(5))) for _ in range(2)
    ]
    assert (twice[0].low, twice[0].high) == (twice[1].low, twice[1].high)


def test_no_estimate_has_less_than_one_degree_of_freedom() -> None:
    """The errors of a study of two seeds and two speakers: its interval went to 2,760 %."""
    errors = np.array([[26.0, 25.0], [24.0, 25.0]])
    (recipe,) = resample_recipes([errors], np.array([26.0, 25.0]), np.random.default_rng(0))
    found = rate(recipe)
    assert found.total.variance**2 / found.total.noise < 1
    assert found.degrees_of_freedom == 1
    assert found.high < 2
