"""The bootstrap of word error rates over utterances or speakers (Bisani & Ney, ICASSP 2004).

Legend: M measured systems or runs, C clusters, R replicates. Whoever resamples utterances calls
each a cluster; whoever resamples speakers sums errors and words over a speaker first, since the
utterances of one speaker are not independent.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
NUM_REPLICATES = 10_000
_WEIGHTS_AT_ONCE = 4_000_000
"""32 MB of them, however many clusters there are."""


def cluster_sums(counts_MU: Floats, clusters: NDArray[np.str_]) -> Floats:
    """Sums [M, C] of `counts_MU` over the utterances of each cluster, clusters in sorted order."""
    names, codes_U = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(codes_U, row, len(names)) for row in counts_MU])


def resampled_rates(
    errors_MC: Floats,
    words_C: Floats,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
) -> Floats:
    """Error rates [R, M] on test sets of C clusters drawn with replacement.

    A replicate is one test set for every row of `errors_MC`, so differences between columns are
    those of a paired comparison. `words_C` are the reference words, the same for every row.
    """
    num_clusters = words_C.size
    shares = np.full(num_clusters, 1 / num_clusters)
    at_once = max(1, _WEIGHTS_AT_ONCE // num_clusters)
    parts = []
    for start in range(0, num_replicates, at_once):
        size = min(at_once, num_replicates - start)
        weights_RC = rng.multinomial(num_clusters, shares, size).astype(np.float64)
        parts.append((weights_RC @ errors_MC.T) / (weights_RC @ words_C)[:, None])
    return np.concatenate(parts)


def standard_error(replicates_R: Floats) -> float:
    """Of the estimate that `replicates_R` repeat, as plain as the tools of the field report it: too
    small by sqrt((C - 1) / C) where there are only C clusters."""
    return float(replicates_R.std(ddof=1))


def percentile_interval(replicates_R: Floats) -> tuple[float, float]:
    """The middle 95 % of `replicates_R`, for many clusters; with ten it covers about 90 %."""
    low, high = np.quantile(replicates_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
