"""How an error rate falls with the amount of training data.

Legend: N amounts of data, S runs of each, C clusters (speakers), R replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.clusters import NUM_REPLICATES, Floats, resampled_rates
from bench.stats.intervals import LEVEL


@dataclass(frozen=True)
class PowerLaw:
    """rate = scale · share^-exponent, without a floor: a few amounts cannot show one."""

    exponent: float
    low: float
    """Of the 95 % interval of the exponent, by speakers and runs drawn anew."""
    high: float
    scale: float
    """The rate that the line gives for all of the data."""

    @property
    def factor_by_doubling(self) -> float:
        """Twice the data multiply the rate by this."""
        return float(2.0**-self.exponent)


def fit_power_law(
    shares_N: Floats,
    errors: Sequence[Floats],
    words_C: Floats,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
) -> PowerLaw:
    """A straight line through log rate against log share, by least squares (Hestness et al. 2017,
    arXiv:1712.00409).

    Args:
        shares_N: amounts of data, in any unit; two different ones at least.
        errors: for each amount the word errors [S, C] of its runs on the same test clusters.
        words_C: reference words.
        rng: of the bootstrap: each replicate draws the clusters once for all, and runs for each
            amount.
        num_replicates: how many.
    """
    half_an_error = 0.5 / words_C.sum()  # a rate of zero has no logarithm

    def fit(rates: Floats) -> tuple[Floats, Floats]:
        """Exponents and scales of rates [..., N]."""
        x_N, y = np.log(shares_N), np.log(np.maximum(rates, half_an_error))
        centred_N = x_N - x_N.mean()
        slopes = y @ centred_N / (centred_N @ centred_N)
        return -slopes, np.exp(y.mean(axis=-1) - slopes * x_N.mean())

    means_N = np.array([errors_SC.sum() / len(errors_SC) for errors_SC in errors]) / words_C.sum()
    exponent, scale = fit(means_N)
    # One draw of speakers serves the runs of all amounts, since all read the same test set; then
    # runs are drawn within each amount.
    #
    #     columns of rates_RM      [ runs of amount 0 | runs of amount 1 | ... ]
    rates_RM = resampled_rates(np.concatenate(errors), words_C, rng, num_replicates)
    ends = np.cumsum([len(errors_SC) for errors_SC in errors])[:-1]
    drawn_RN = np.stack(
        [_mean_of_drawn_runs(rates_RS, rng) for rates_RS in np.split(rates_RM, ends, axis=1)], 1
    )
    low, high = np.quantile(fit(drawn_RN)[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return PowerLaw(exponent=float(exponent), low=float(low), high=float(high), scale=float(scale))


def _mean_of_drawn_runs(rates_RS: Floats, rng: np.random.Generator) -> Floats:
    num_replicates, num_runs = rates_RS.shape
    weights_RS = rng.multinomial(num_runs, np.full(num_runs, 1 / num_runs), num_replicates)
    means_R: Floats = (weights_RS * rates_RS).sum(axis=1) / num_runs
    return means_R
