"""Components of variance against the analysis of variance, Welch's test and each other."""

import numpy as np
import pytest
from scipy import stats

from bench.stats.component import Component
from bench.stats.estimate import Estimate
from bench.stats.variance import (
    EQUAL_VARIANCE_LEVEL,
    SystemEstimates,
    differences,
    estimate_systems,
    pooled_variance,
    probability_of_improvement,
    rates,
)

WORDS = np.random.default_rng(9).integers(50, 150, 30).astype(float)


def systems(*errors: np.ndarray, words: np.ndarray = WORDS, seed: int = 0) -> SystemEstimates:
    return estimate_systems(errors, words, np.random.default_rng(seed))


def of_pair(found: SystemEstimates, pair: int = 0) -> Estimate:
    delta, splits = differences(found)
    return Estimate(delta[pair], [split.at(pair).total for split in splits])


def runs(seed: int, per_seed: list[float], words: np.ndarray = WORDS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.binomial(words.astype(int), np.array(per_seed)[:, None]).astype(float)


def exactly(rates_S: list[float], num_clusters: int = 40) -> np.ndarray:
    """Runs whose rate is the same for every speaker."""
    return np.array(rates_S)[:, None] * np.full(num_clusters, 1000.0)


THOUSAND = np.full(40, 1000.0)


def test_one_run_has_the_linearised_error_of_its_speakers() -> None:
    errors = runs(0, [0.2])
    found, size = rates(systems(errors)).at(0), WORDS.size
    residuals = errors[0] - errors.sum() / WORDS.sum() * WORDS
    linearised = size / (size - 1) * (residuals**2).sum() / WORDS.sum() ** 2
    assert found.total.variance == pytest.approx(linearised)
    assert found.total.degrees_of_freedom == pytest.approx(size - 1)
    assert found.by_test_set == pytest.approx(linearised)
    assert np.isnan([found.by_seeds, found.by_interaction]).all()


def test_seeds_alone_give_students_t() -> None:
    per_seed = [0.18, 0.20, 0.22]
    found = rates(systems(exactly(per_seed), words=THOUSAND)).at(0)
    assert found.total.variance == pytest.approx(np.var(per_seed, ddof=1) / 3)
    assert found.total.degrees_of_freedom == pytest.approx(2)
    assert found.by_seeds == pytest.approx(found.total.variance)


def test_welch_is_the_case_of_two_systems_whose_seeds_alone_differ() -> None:
    a, b = [0.18, 0.20, 0.23], [0.25, 0.24, 0.28, 0.35]
    found = of_pair(systems(exactly(a), exactly(b), words=THOUSAND))
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert found.value == pytest.approx(np.mean(b) - np.mean(a))
    assert found.p() == pytest.approx(welch.pvalue)
    interval = welch.confidence_interval()
    half = found.half_width(0.05)
    assert (found.value - half, found.value + half) == pytest.approx((interval.low, interval.high))


def test_anova_is_the_case_of_three_systems_whose_seeds_alone_differ() -> None:
    """The pooled variance: a contrast of a one-way analysis of variance."""
    own = [[0.18, 0.20, 0.23], [0.25, 0.24, 0.28, 0.30], [0.22, 0.21, 0.24]]
    made = systems(*map(exactly, own), words=THOUSAND)
    assert pooled_variance(made).p_equal > EQUAL_VARIANCE_LEVEL
    pooled = sum(np.var(o, ddof=1) * (len(o) - 1) for o in own) / 7
    t = (np.mean(own[1]) - np.mean(own[0])) / np.sqrt(pooled * (1 / 3 + 1 / 4))
    assert of_pair(made).p() == pytest.approx(2 * stats.t.sf(t, 7))


def test_parts_are_those_of_the_analysis_of_variance() -> None:
    rng, num_runs, words = np.random.default_rng(1), 4, np.full(25, 1000.0)
    speakers, seeds = rng.normal(0, 20, 25), rng.normal(0, 15, (num_runs, 1))
    errors = 200 + speakers + seeds + rng.normal(0, 10, (num_runs, 25))
    found, per_word = rates(systems(errors, words=words)).at(0), errors / 1000
    by_run = per_word.mean(axis=1).var(ddof=1) / num_runs
    by_speaker = per_word.mean(axis=0).var(ddof=1) / 25
    rest = per_word - per_word.mean(axis=1, keepdims=True) - per_word.mean(axis=0) + per_word.mean()
    interaction = (rest**2).sum() / (3 * 24) / (num_runs * 25)
    total = by_run + by_speaker - interaction
    assert found.total.variance == pytest.approx(total)
    noise = by_run**2 / 3 + by_speaker**2 / 24 + interaction**2 / (3 * 24)
    assert found.total.degrees_of_freedom == pytest.approx(total**2 / noise)
    assert found.by_seeds == pytest.approx(by_run - interaction)
    assert found.by_interaction == pytest.approx(interaction)
    assert found.by_seeds + found.by_test_set + found.by_interaction == pytest.approx(total)


def test_speakers_that_are_hard_for_both_cancel_in_the_difference() -> None:
    hard = np.random.default_rng(0).uniform(0.1, 0.4, 40) * 1000
    found = systems(hard[None] + 0 * THOUSAND, hard[None] + 20, words=THOUSAND)
    assert rates(found).at(0).total.variance > 0
    assert np.isnan(differences(found)[1][0].at(0).total.variance)


def test_a_copy_does_not_differ_but_a_worse_system_does() -> None:
    errors = runs(2, [0.2, 0.21, 0.19, 0.2])
    found = systems(errors, errors[::-1], errors + 0.1 * WORDS)
    same, worse = of_pair(found, 0), of_pair(found, 1)
    assert (same.value, same.p()) == (pytest.approx(0), 1)
    assert worse.value == pytest.approx(0.1)
    assert worse.p() < 0.001


def test_a_constant_difference_has_no_variance_and_so_no_p() -> None:
    """The mean difference is 0.5 errors for both speakers in every replicate; what is left of the
    bootstrap's variances after their subtraction is rounding."""
    a_SC, b_SC = np.array([[11.0, 10], [10, 10]]), np.array([[10.0, 9], [10, 10]])
    words_C = np.array([27.0, 27])
    systems = estimate_systems([a_SC, b_SC], words_C, np.random.default_rng(0))
    _, (own, _) = differences(systems)
    assert np.isnan(own.total.variance).all()


def test_a_single_run_takes_the_variance_of_those_that_have_several() -> None:
    """A bare file against three seeds: without it such pairs err in 10 to 22 % of studies."""
    single, several = exactly([0.25]), exactly([0.18, 0.20, 0.22])
    found = of_pair(systems(single, several, words=THOUSAND))
    variance = np.var([0.18, 0.20, 0.22], ddof=1)
    t = 0.05 / np.sqrt(variance * (1 + 1 / 3))
    assert found.p() == pytest.approx(2 * stats.t.sf(t, 2))
    assert rates(systems(single, several, words=THOUSAND)).at(0).by_seeds == pytest.approx(variance)
    # Two single runs, when others have several: from the same pool.
    both = of_pair(systems(single, exactly([0.2]), several, words=THOUSAND))
    assert both.p() == pytest.approx(2 * stats.t.sf(0.05 / np.sqrt(2 * variance), 2))


def test_single_runs_alone_are_two_checkpoints() -> None:
    made = systems(runs(0, [0.2]), runs(1, [0.3]))
    _, (own, pooled) = differences(made)
    assert np.isnan(own.at(0).by_seeds)
    assert np.isnan(pooled.at(0).total.variance)
    assert own.at(0).total.variance > 0
    assert np.isnan(pooled_variance(made).p_equal)


def test_a_system_whose_seeds_scatter_far_more_leaves_the_pool() -> None:
    calm = [[0.200, 0.201, 0.203], [0.213, 0.215, 0.214], [0.22, 0.221, 0.223]]
    wild = [0.1, 0.3, 0.2]
    made = systems(*map(exactly, [*calm, wild]), words=THOUSAND)
    pool = pooled_variance(made)
    assert pool.p_equal < 0.01
    assert pool.is_calm.tolist() == [True, True, True, False]
    assert pool.calm.seeds.variance < pool.everyone.seeds.variance / 100
    # The wider of its own two systems' and the pool's interval counts for a pair.
    (own, pooled) = (split.at(2).total for split in differences(made)[1])
    assert own.variance == pytest.approx((np.var(calm[0], ddof=1) + np.var(wild, ddof=1)) / 3)
    assert np.isfinite(pooled.variance)
    assert of_pair(made, 2).half_width(0.05) == max(
        Estimate(0.0, [c]).half_width(0.05)  # type: ignore[arg-type]
        for c in (own, pooled)
    )


def test_cochrans_test_keeps_its_nominal_level() -> None:
    rng = np.random.default_rng(0)
    rates_EVS = rng.normal(0.3, 0.02, (4000, 5, 3))
    errors = rates_EVS[..., None] * THOUSAND[:10]
    made = estimate_systems([errors[:, v] for v in range(5)], THOUSAND[:10], rng)
    p = pooled_variance(made).p_equal
    for level in (0.01, 0.05, 0.1):
        assert (p < level).mean() <= level + 2 * np.sqrt(level / 4000)
        assert (p < level).mean() > 0.7 * level, "the bound is close for the largest variance"


def test_two_seeds_are_judged_by_the_wider_of_both() -> None:
    """The seeds of some pair agree by luck, and an adjustment picks out just that pair."""
    lucky = [[0.2, 0.2001], [0.21, 0.2101], [0.2, 0.24], [0.18, 0.22]]
    made = systems(*map(exactly, lucky), words=THOUSAND)
    assert Estimate(0.01, [differences(made)[1][0].at(0).total]).p() < 0.001  # type: ignore[arg-type]
    assert of_pair(made, 0).p() > 0.3


def test_two_systems_are_judged_by_their_own_seeds() -> None:
    made = systems(exactly([0.2, 0.21, 0.22]), exactly([0.3, 0.35, 0.4, 0.33]), words=THOUSAND)
    own, pooled = (split.at(0).total.variance for split in differences(made)[1])
    assert np.isfinite(own)
    assert np.isnan(pooled)


def test_probability_of_improvement() -> None:
    good, bad, between = (exactly(r) for r in ([0.1, 0.1], [0.3, 0.3], [0.1, 0.3]))
    assert probability_of_improvement(good, bad, THOUSAND) == 1
    assert probability_of_improvement(bad, good, THOUSAND) == 0
    assert probability_of_improvement(good, good, THOUSAND) == 0.5
    # One seed of the third ties, the other loses.
    assert probability_of_improvement(good, between, THOUSAND) == 0.75
    a, b = runs(0, [0.2]), runs(1, [0.22])
    replicates = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), 20_000)
    share = (replicates @ (b - a)[0] > 0).mean()
    assert probability_of_improvement(a, b, WORDS) == pytest.approx(share, abs=0.03)


def test_noise_adds_up_as_satterthwaite_has_it() -> None:
    def of(variance: float, freedom: int) -> Component:
        return Component.of(np.array(variance), freedom)

    found = of(2.0, 4) + of(3.0, 9) + of(1.0, 10) * 0.5
    assert found.variance == 5.5
    assert found.noise == pytest.approx(4 / 4 + 9 / 9 + 0.25 / 10)


def test_studies_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors = [rng.poisson(30, (6, num_seeds, 12)).astype(float) for num_seeds in (3, 5, 1, 4)]
    words = np.full(12, 150.0)
    delta, splits = differences(estimate_systems(errors, words, rng))
    p = Estimate(delta, [split.total for split in splits]).p()
    for study in range(6):
        delta, splits = differences(systems(*(own[study] for own in errors), words=words))
        alone = Estimate(delta, [split.total for split in splits]).p()
        assert alone == pytest.approx(p[study])


def test_no_estimate_has_less_than_one_degree_of_freedom() -> None:
    """The errors of a study of two seeds and two speakers: its interval went to 2,760 %."""
    errors = np.array([[26.0, 25.0], [24.0, 25.0]])
    found = rates(systems(errors, words=np.array([26.0, 25.0]))).at(0).total
    assert found.variance**2 / found.noise < 1
    assert found.degrees_of_freedom == 1
