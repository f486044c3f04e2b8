import random
from dataclasses import replace

import numpy as np
import pytest

from bench.study.rungs import Climber, Standing, num_epochs, rungs_clause, sizes, standings
from bench.study.space import load_budget

GOES_ON, WAITS, OUT = Standing.GOES_ON, Standing.WAITS, Standing.OUT


def climbers(*wers: dict[int, float], ended: tuple[int, ...] = ()) -> list[Climber]:
    return [Climber(slot=n, wers=w, has_ended=n in ended) for n, w in enumerate(wers)]


def stands(*wers: dict[int, float], ended: tuple[int, ...] = ()) -> list[Standing]:
    found = standings(climbers(*wers, ended=ended), (2, 4))
    return [found[slot] for slot in range(len(wers))]


def test_a_rung_decides_once_all_are_there() -> None:
    assert stands({2: 0.3}, {2: 0.1}, {}, {2: 0.4}) == [WAITS, WAITS, GOES_ON, WAITS]
    assert stands({2: 0.3}, {2: 0.1}, {2: 0.2}, {2: 0.4}) == [OUT, GOES_ON, GOES_ON, OUT]
    assert stands({2: 0.3}, {2: 0.1, 4: 0.1}, {2: 0.2}, {2: 0.4}) == [OUT, WAITS, GOES_ON, OUT]
    assert stands({2: 0.3}, {2: 0.1, 4: 0.2}, {2: 0.2, 4: 0.1}, {2: 0.4}) == [
        OUT,
        OUT,
        GOES_ON,
        OUT,
    ]


def test_of_equals_the_earlier_goes_on_and_an_odd_number_rounds_up() -> None:
    assert stands({2: 0.2}, {2: 0.2}) == [GOES_ON, OUT]
    assert stands({2: 0.2}, {2: 0.2}, {2: 0.2}) == [GOES_ON, GOES_ON, OUT]
    assert stands({2: 0.2}) == [GOES_ON]


def test_a_trial_that_ended_before_the_rung_changes_nothing_for_the_others() -> None:
    assert stands({}, {2: 0.1}, {2: 0.2}, {2: 0.3}, ended=(0,)) == [GOES_ON, GOES_ON, GOES_ON, OUT]
    assert stands({}, {}, {2: 0.2}, {2: 0.3}, ended=(0, 1)) == [GOES_ON] * 4, "two of four pass"
    # It passed the first rung and diverged: nobody takes its place there.
    after = stands({2: 0.1}, {2: 0.2, 4: 0.2}, {2: 0.3}, {2: 0.4}, ended=(0, 2, 3))
    assert after[1:] == [GOES_ON, OUT, OUT]


def test_who_ended_at_a_rung_by_himself_is_ranked_there() -> None:
    assert stands({2: 0.1}, {2: 0.2}, ended=(0,))[1] == OUT


@pytest.mark.parametrize("seed", range(20))
def test_the_order_in_which_trials_arrive_changes_nothing(seed: int) -> None:
    rng, draw, rungs, size = random.Random(seed), np.random.default_rng(seed), (1, 3, 4), 13
    wers = {rung: draw.random(size).round(1) for rung in rungs}  # with equals
    known: list[dict[int, float]] = [{} for _ in range(size)]
    ended: set[int] = set()
    expected = list(range(size))
    for rung in rungs:
        expected = sorted(expected, key=lambda n: (wers[rung][n], n))[: (len(expected) + 1) // 2]
    while len(ended) < size:
        now = standings(
            [Climber(slot=n, wers=known[n], has_ended=n in ended) for n in range(size)], rungs
        )
        ended |= {n for n in range(size) if now[n] == OUT}
        able = [n for n in range(size) if now[n] == GOES_ON and n not in ended]
        if not able:
            continue
        chosen = rng.choice(able)
        if left := [rung for rung in rungs if rung not in known[chosen]]:
            known[chosen][left[0]] = float(wers[left[0]][chosen])
        else:
            ended.add(chosen)
    assert [n for n in range(size) if len(known[n]) == len(rungs) and now[n] != OUT] == sorted(
        expected
    )


def test_compute_by_hand() -> None:
    assert sizes(32, 2) == (32, 16, 8)
    assert num_epochs((32, 16, 8), (4, 8), 15) == 32 * 4 + 16 * 4 + 8 * 7
    assert rungs_clause(32, (4, 8), 15) == (
        "the better half goes on after epochs 4 and 8: 32 → 16 → 8 trials, 52 % of all their epochs"
    )
    assert rungs_clause(32, (), 15) == ""


def test_rungs_of_a_budget_are_the_warm_up_and_its_doubles() -> None:
    budget = replace(load_budget("smoke"), search_epochs=15, warmup_epochs=3)
    assert budget.rungs == (3, 6, 12)
    assert replace(budget, warmup_epochs=0, search_epochs=8).rungs == (1, 2, 4)
    assert replace(budget, warmup_epochs=15).rungs == ()
    assert replace(budget, pruner="median").rungs == ()
    with pytest.raises(ValueError, match="nothing that sampler tpe could learn from"):
        replace(budget, sampler="tpe")
