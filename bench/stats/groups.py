"""Whether a difference between systems is the same for every group of utterances or speakers.

Legend: U utterances, C clusters (speakers), S runs of a system, V systems, P pairs, G groups.

The contrast of a run is its rate inside a group minus its rate outside. A pair of systems whose
contrasts differ gains more in the group than elsewhere: an interaction of system and group. The
contrast is linear in the residuals of both rates, so its variance over seeds and speakers is that
of `estimate_linearised`. Where groups part the speakers, as gender does, each side has its own; a
side of few speakers is weighted by C / (C - 1) of its own and gives the degrees of freedom.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.stats.clusters import Bools, Floats, cluster_sums, residuals
from bench.stats.variance import SystemEstimates, estimate_linearised


def contrasts(
    errors: Sequence[Floats], words_U: Floats, clusters_U: NDArray[np.str_], inside_U: Bools
) -> SystemEstimates:
    """The rate of the utterances `inside_U` minus that of the others, of systems with runs of
    `errors` [S, U]; unknown (NaN) if a side is of fewer than two clusters."""
    sides = []
    for member_U in (inside_U, ~inside_U):
        words_C = cluster_sums((words_U * member_U)[None], clusters_U)[0]
        sides.append((member_U, words_C, int((words_C > 0).sum())))
    fewest = min(num for _, _, num in sides)
    values, rests = [], []
    # Rate inside minus rate outside, and the residuals of that difference. A cluster with words on
    # one side only has a residual of zero on the other.
    for own in errors:
        value_S, rest_SC = np.zeros(len(own)), 0.0
        for sign, (member_U, words_C, num) in zip((1, -1), sides, strict=True):
            errors_SC = cluster_sums(own * member_U, clusters_U)
            value_S = value_S + sign * errors_SC.sum(axis=1) / words_C.sum()
            factor = np.sqrt(num / max(1, num - 1))
            rest_SC = rest_SC + sign * factor * residuals(errors_SC, words_C)
        values.append(value_S)
        rests.append(np.asarray(rest_SC))
    means_VC = np.stack([rest_SC.mean(axis=0) for rest_SC in rests])
    by_clusters = means_VC @ means_VC.T if fewest > 1 else np.full((len(errors),) * 2, np.nan)
    return estimate_linearised(values, rests, by_clusters, fewest)
