import numpy as np
import pytest

from bench.results.tradeoffs import hypervolume, pareto_set

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
