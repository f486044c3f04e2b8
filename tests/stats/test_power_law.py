"""The line through log error rate against log amount of data."""

import numpy as np
import pytest

from bench.stats.power_law import fit_power_law

SHARES = np.array([0.125, 0.25, 0.5, 1.0])
WORDS = np.full(12, 5000.0)


def errors(
    rates: np.ndarray, num_runs: int, spread: float = 0.0, seed: int = 1
) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    noise = [np.exp(spread * rng.standard_normal((num_runs, WORDS.size))) for _ in rates]
    return [rate * WORDS * own for rate, own in zip(rates, noise, strict=True)]


def test_a_true_power_law_is_found_exactly() -> None:
    law = fit_power_law(SHARES, errors(0.2 * SHARES**-0.35, 3), WORDS, np.random.default_rng(0))
    assert law.exponent == pytest.approx(0.35)
    assert law.scale == pytest.approx(0.2)
    assert (law.low, law.high) == pytest.approx((0.35, 0.35))
    assert law.factor_by_doubling == pytest.approx(2**-0.35)


def test_agrees_with_polyfit_and_the_interval_has_its_coverage() -> None:
    held = 0
    for seed in range(60):
        made = errors(0.2 * SHARES**-0.35, 5, spread=0.2, seed=seed)
        law = fit_power_law(SHARES, made, WORDS, np.random.default_rng(seed), 500)
        rates = [own.mean(axis=0).sum() / WORDS.sum() for own in made]
        slope, constant = np.polyfit(np.log(SHARES), np.log(rates), 1)
        assert (law.exponent, law.scale) == pytest.approx((-slope, np.exp(constant)))
        held += law.low <= 0.35 <= law.high
    assert 49 <= held <= 60


def test_no_error_at_all_counts_as_half_a_one() -> None:
    law = fit_power_law(
        np.array([1.0, 2.0]), errors(np.array([0.1, 0.0]), 2), WORDS, np.random.default_rng(0), 50
    )
    assert law.exponent == pytest.approx(np.log2(0.1 * WORDS.sum() / 0.5))
