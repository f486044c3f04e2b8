"""Error rates as ratios of sums over clusters, and their covariance by clusters.

Legend: M measured systems or runs, C clusters, U utterances. Speakers are the clusters of a
comparison, since the utterances of one speaker are not independent; whoever wants the variance over
utterances alone calls each utterance a cluster.

A rate is errors over words, R = E / W. Its linearised residual in cluster c is
(e_c - R w_c) / W; the residuals of a row sum to zero, and C / (C - 1) times the sum of their
products estimates the covariance of two rates over test sets of C such clusters (Cochran, Sampling
Techniques, 3rd ed. 1977, section 6.3). With ten clusters or more that standard error agrees with
the bootstrap's to about one per cent; with fewer the ratio is less linear, and `covariance`
bootstraps.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST_LINEARISED = 10
"""Clusters; with fewer the covariance is the bootstrap's."""
NUM_REPLICATES = 10_000
_WEIGHTS_AT_ONCE = 4_000_000
"""32 MB of them, however many clusters there are."""


def cluster_sums(counts_MU: Floats, clusters: NDArray[np.str_]) -> Floats:
    """Sums [M, C] of `counts_MU` over the utterances of each cluster, clusters in sorted order."""
    names, codes_U = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(codes_U, row, len(names)) for row in counts_MU])


def residuals(errors: Floats, words_C: Floats) -> Floats:
    """Linearised residuals [..., C] of the rates of `errors` [..., C]."""
    total = words_C.sum()
    rates = errors.sum(axis=-1, keepdims=True) / total
    found: Floats = (errors - rates * words_C) / total
    return found


def linearised_covariance(errors_MC: Floats, words_C: Floats) -> Floats:
    """The covariance [..., M, M] of the rates of `errors_MC` [..., M, C]; NaN for one cluster."""
    num_clusters = words_C.size
    if num_clusters < 2:
        return np.full((*errors_MC.shape[:-1], errors_MC.shape[-2]), np.nan)
    residuals_MC = residuals(errors_MC, words_C)
    factor = num_clusters / (num_clusters - 1)
    found: Floats = factor * residuals_MC @ np.swapaxes(residuals_MC, -1, -2)
    return found


def too_few_to_linearise(words_C: Floats) -> bool:
    """Whether the variance by these clusters is the bootstrap's. Clusters without a reference word
    are linearised however few they are: some replicates would have no rate."""
    return 1 < words_C.size < FEWEST_LINEARISED and bool((words_C > 0).all())


def covariance(
    errors_MC: Floats,
    words_C: Floats,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
) -> Floats:
    """The covariance [..., M, M] of rates over test sets of such clusters: linearised, or
    bootstrapped with `rng` if they are `too_few_to_linearise`."""
    num_clusters = words_C.size
    if not too_few_to_linearise(words_C):
        return linearised_covariance(errors_MC, words_C)
    if errors_MC.ndim > 2:
        return np.stack([covariance(own, words_C, rng, num_replicates) for own in errors_MC])
    rates_RM = resampled_rates(errors_MC, words_C, rng, num_replicates)
    # atleast_2d: numpy gives the covariance of a single row no axes.
    found: Floats = np.atleast_2d(np.cov(rates_RM, rowvar=False, bias=True))
    # Test sets drawn from C clusters scatter by (C - 1) / C of what those drawn from their
    # population do.
    return found * num_clusters / (num_clusters - 1)


def resampled_rates(
    errors_MC: Floats,
    words_C: Floats,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
) -> Floats:
    """Error rates [R, M] on test sets of C clusters drawn with replacement (Bisani & Ney, ICASSP
    2004).

    A replicate is one test set for every row of `errors_MC`, so differences between columns are
    those of a paired comparison. `words_C` are the reference words, the same for every row.
    """
    num_clusters = words_C.size
    shares = np.full(num_clusters, 1 / num_clusters)
    at_once = max(1, _WEIGHTS_AT_ONCE // num_clusters)
    parts = []
    for start in range(0, num_replicates, at_once):
        size = min(at_once, num_replicates - start)
        # How often each cluster is drawn is its weight; rows are replicates, and each draws C
        # clusters:
        #
        #     cluster         A  B  C  D
        #     replicate 0     2  0  1  1
        #     replicate 1     0  1  3  0
        weights_RC = rng.multinomial(num_clusters, shares, size).astype(np.float64)
        parts.append((weights_RC @ errors_MC.T) / (weights_RC @ words_C)[:, None])
    return np.concatenate(parts)
