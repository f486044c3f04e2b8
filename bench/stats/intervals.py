"""Intervals of a single rate, and the plain ones that other tools of the field print.

Legend: M measured systems or runs, C clusters.
"""

import numpy as np
from scipy import special

from bench.stats.clusters import (
    Floats,
    linearised_covariance,
    resampled_rates,
    too_few_to_linearise,
)

LEVEL = 0.95
MOST_FACTOR = 1000.0
"""An interval that reaches further than this factor from its rate counts as unknown."""


def log_interval(rate: float, standard_error: float, df: float) -> tuple[float, float]:
    """The 95 % interval of a rate above zero on the log scale: never below zero, and as wide, in
    ratios, either way (delta method: the log's standard error is that of the rate over the
    rate). NaN, unknown, if it is wider than MOST_FACTOR either way."""
    #     rate / factor        rate               rate * factor      on the log scale symmetric
    #     [----------------------|--------------------------------------]
    factor = float(np.exp(special.stdtrit(df, (1 + LEVEL) / 2) * standard_error / rate))
    if not factor <= MOST_FACTOR:
        return float("nan"), float("nan")
    return rate / factor, rate * factor


def wilson_interval(num_wrong: int, num_units: int) -> tuple[float, float]:
    """The 95 % interval of a share of independent units (Wilson, JASA 1927). Of none wrong it ends
    above zero, at about 3.7 over `num_units`."""
    # (p + z²/2n ± sqrt(p (1 - p) z²/n + z⁴/4n²)) / (1 + z²/n), with `spread` = z²/n.
    z = float(special.ndtri((1 + LEVEL) / 2))
    share, spread = num_wrong / num_units, z**2 / num_units
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def standard_errors(errors_MC: Floats, words_C: Floats, rng: np.random.Generator) -> Floats:
    """Standard errors [M] over clusters with the runs fixed, without correction for few clusters,
    as other tools report them: too small by sqrt((C - 1) / C). Linearised for ten clusters or more,
    else bootstrapped."""
    if not too_few_to_linearise(words_C):
        shrunk = (words_C.size - 1) / words_C.size
        found: Floats = np.sqrt(shrunk * np.diagonal(linearised_covariance(errors_MC, words_C)))
        return found
    deviations: Floats = resampled_rates(errors_MC, words_C, rng).std(axis=0, ddof=1)
    return deviations


def plain_intervals(
    errors_MC: Floats, words_C: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """The lower and upper ends [M, M] of 95 % intervals of rate j minus rate i over clusters, with
    the runs fixed (Bisani & Ney 2004): normal for ten clusters or more, else percentiles of the
    bootstrap, which of so few cover about 90 %."""
    if not too_few_to_linearise(words_C):
        # Without the factor C / (C - 1) for few clusters: a bootstrap over them has none.
        covariance = linearised_covariance(errors_MC, words_C) * (1 - 1 / words_C.size)
        variance = np.diagonal(covariance)[:, None] + np.diagonal(covariance) - 2 * covariance
        rates_M = errors_MC.sum(axis=1) / words_C.sum()
        delta = rates_M - rates_M[:, None]
        half = special.ndtri((1 + LEVEL) / 2) * np.sqrt(np.maximum(0.0, variance))
        return delta - half, delta + half
    rates_RM = resampled_rates(errors_MC, words_C, rng)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(rates_RM[:, None] - rates_RM[:, :, None], ends, axis=0)
    return low, high
