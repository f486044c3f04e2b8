import math

import numpy as np
import pandas as pd
import pytest

from bench.results.tradeoffs import COSTS, hypervolume, pareto_set, tradeoffs
from reports.columns import COLUMNS

GOLDEN = np.array([[0.1, 5], [0.12, 3], [0.2, 1]])


def test_golden_hypervolume() -> None:
    assert hypervolume(GOLDEN, (0.3, 6)) == pytest.approx(0.76)


def test_hypervolume_ignores_order_copies_and_what_is_beaten_or_beyond() -> None:
    more = np.concatenate([GOLDEN[::-1], GOLDEN, [[0.15, 3.5], [0.05, 7], [0.4, 0.5]]])
    assert hypervolume(more, (0.3, 6)) == pytest.approx(0.76)
    assert hypervolume(np.zeros((0, 2)), (1, 1)) == 0


def test_hypervolume_is_the_share_of_points_beaten() -> None:
    rng = np.random.default_rng(0)
    costs, points = rng.random((12, 2)), rng.random((40_000, 2))
    beaten = (costs[None] <= points[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(costs, (1, 1)) == pytest.approx(beaten.mean(), abs=0.01)


def test_pareto_set_keeps_ties() -> None:
    costs = np.array([[1, 3], [1, 3], [1, 4], [2, 2], [3, 3]])
    assert pareto_set(costs).tolist() == [True, True, False, True, False]


def test_wer_against_each_cost() -> None:
    systems = pd.DataFrame(
        {
            "system": ["small", "large", "beaten", "silent"],
            "wer_mean": [0.2, 0.1, 0.2, math.nan],
            "num_parameters": [1e6, 4e6, 4e6, 2e6],
            "macs_per_second_of_audio": [5e7] * 4,
            "train_seconds": [math.nan] * 4,
        }
    )
    found = tradeoffs(systems, {"real_time_factor": {"large": 0.02}})
    assert set(found.columns) == set(COLUMNS["tradeoffs"])
    assert list(found["cost"].unique()) == [COSTS[0], COSTS[1], COSTS[3]]
    sizes = found[found["cost"] == "num_parameters"].set_index("system")
    assert sizes["pareto_optimal"].to_dict() == {"small": True, "large": True, "beaten": False}
    assert sizes[["reference_cost", "reference_wer"]].iloc[0].tolist() == pytest.approx(
        [4.4e6, 0.22]
    )
    # The rectangles right of and above `small` and `large`, of 4.4 million times 0.22.
    beaten = (3.4 * 0.02 + 0.4 * 0.1) / (4.4 * 0.22)
    assert sizes["hypervolume"].tolist() == pytest.approx([beaten] * 3)
    macs = found[found["cost"] == "macs_per_second_of_audio"]
    assert macs.loc[macs["pareto_optimal"], "system"].tolist() == ["large"]


def test_nothing_scored_is_nothing_to_trade() -> None:
    systems = pd.DataFrame({"system": ["a"], "wer_mean": [math.nan]}).assign(
        **dict.fromkeys(COSTS[:3], 1.0)
    )
    assert tradeoffs(systems, {}).empty
