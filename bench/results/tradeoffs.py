"""Two costs at once, such as error rate and training seconds: both are to be small.

Legend: P points, each of two costs.
"""

import numpy as np
from numpy.typing import NDArray

from bench.results.bootstrap import Floats


def pareto_set(costs_P2: Floats) -> NDArray[np.bool_]:
    """Which points no other point beats: none is as good in both costs and better in one."""
    as_good = (costs_P2[:, None] <= costs_P2[None]).all(axis=2)
    better = (costs_P2[:, None] < costs_P2[None]).any(axis=2)
    unbeaten: NDArray[np.bool_] = np.logical_not((as_good & better).any(axis=0))
    return unbeaten


def hypervolume(costs_P2: Floats, reference: tuple[float, float]) -> float:
    """The area between the Pareto set and `reference`, a point worse than all that count (Zitzler &
    Thiele, PPSN 1998). A point beyond it in either cost adds nothing."""
    inside = costs_P2[(costs_P2 < np.array(reference)).all(axis=1)]
    front = inside[pareto_set(inside)]
    # From left to right, each point adds a strip down from the one before it.
    front = np.unique(front, axis=0)
    ceilings = np.concatenate([[reference[1]], front[:-1, 1]])
    return float(((reference[0] - front[:, 0]) * (ceilings - front[:, 1])).sum())
