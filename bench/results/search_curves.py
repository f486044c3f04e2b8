"""What a search has found after n trials."""

from typing import Literal

import numpy as np
from scipy.stats import kendalltau

from bench.results.bootstrap import Floats


def best_so_far(values_N: Floats) -> Floats:
    """The lowest value up to each trial, in the order they ran; a trial without a value (NaN:
    failed, diverged) costs its place and adds nothing."""
    return np.fmin.accumulate(values_N)


def expected_best(
    values_N: Floats, num_trials: int, estimator: Literal["biased", "unbiased"] = "unbiased"
) -> float:
    """The expected lowest value of `num_trials` independent trials, given N that were run.

    Only for trials that do not learn from one another, as in random search. `biased` draws with
    replacement from the values (Dodge et al., EMNLP 2019); for a minimum it comes out too high.
    `unbiased` draws without (Dodge et al., Findings of EMNLP 2021), so it needs
    ``num_trials <= N``. A trial without a value (NaN) counts as one worse than all others; if such
    can be all that is drawn, the expectation is infinite.
    """
    values_N = np.sort(np.where(np.isnan(values_N), np.inf, values_N))
    size = values_N.size
    assert num_trials >= 1, f"the best of {num_trials} trials does not exist"
    # The chance that every draw is at rank i or above, i = 0 .. N; its steps weigh the ranks.
    above = (size - np.arange(size + 1)) / size
    if estimator == "biased":
        reached = above**num_trials
    else:
        assert num_trials <= size, f"{num_trials} of {size} trials cannot be drawn"
        left = size - np.arange(size + 1)[:, None] - np.arange(num_trials)
        reached = np.clip(left / (size - np.arange(num_trials)), 0, None).prod(axis=1)
    weights = reached[:-1] - reached[1:]
    return float((values_N[weights > 0] * weights[weights > 0]).sum())


def rank_agreement(a_N: Floats, b_N: Floats) -> float:
    """Kendall's tau-b: 1 if both put N trials into the same order, -1 if into the opposite."""
    return float(kendalltau(a_N, b_N).statistic)
