"""Trade-offs between two costs, such as error rate and training seconds; both are minimised.

Legend: P points, each of two costs.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.stats.clusters import Floats


def pareto_set(costs_P2: Floats) -> NDArray[np.bool_]:
    """The Pareto-optimal points, as bools [P]: no other point is as good in both costs and better
    in one."""
    # [i, j]: point i costs no more than point j in either, and less in one.
    as_good = (costs_P2[:, None] <= costs_P2[None]).all(axis=2)
    better = (costs_P2[:, None] < costs_P2[None]).any(axis=2)
    optimal: NDArray[np.bool_] = np.logical_not((as_good & better).any(axis=0))
    return optimal


def hypervolume(costs_P2: Floats, reference: tuple[float, float]) -> float:
    """The area between the Pareto set and `reference`, a point worse than all that count (Zitzler &
    Thiele, PPSN 1998). A point beyond it in either cost adds nothing."""
    inside = costs_P2[(costs_P2 < np.array(reference)).all(axis=1)]
    front = inside[pareto_set(inside)]
    # From left to right, each point adds a strip down from the one before it.
    front = np.unique(front, axis=0)
    ceilings = np.concatenate([[reference[1]], front[:-1, 1]])
    return float(((reference[0] - front[:, 0]) * (ceilings - front[:, 1])).sum())


MEASURED_APART = ("real_time_factor", "user_perceived_ms")
"""The costs that bench.speed measures."""

COSTS = ("num_parameters", "macs_per_second_of_audio", "train_seconds", *MEASURED_APART)
"""The costs that WER is plotted against; a study measures the first."""

BEYOND_WORST = 1.1
"""The reference point of a hypervolume, in units of the worst value of each axis."""


def tradeoffs(systems: pd.DataFrame, measured: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """WER against each cost: the table of reports.columns.TradeoffColumns, its reference point a
    tenth beyond the worst of each axis. `measured` are, for each of MEASURED_APART and by system,
    those that were measured under equal conditions; may lack some."""
    apart = {cost: systems["system"].map(measured.get(cost, {})) for cost in MEASURED_APART}
    known = systems.assign(**apart)
    tables: list[pd.DataFrame] = []
    for cost in COSTS:
        costs_P2 = known[[cost, "wer_mean"]].to_numpy(np.float64)
        shown = np.isfinite(costs_P2).all(axis=1)
        costs_P2 = costs_P2[shown]
        # Without a system the reference is 0, and the share 0 / 0; such a table has no rows.
        reference = BEYOND_WORST * costs_P2.max(axis=0, initial=0.0)
        with np.errstate(invalid="ignore"):
            share = hypervolume(costs_P2, (reference[0], reference[1])) / reference.prod()
        table = known.loc[shown, ["system"]].assign(
            cost=cost,
            value=costs_P2[:, 0],
            pareto_optimal=pareto_set(costs_P2),
            reference_cost=reference[0],
            reference_wer=reference[1],
            hypervolume=share,
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
