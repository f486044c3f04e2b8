from bench.runs.state import RunEnd, State
from bench.study.winner import winner

RUNGS = (2, 4)
LOST = RunEnd(State.DIVERGED, 0.1, 5)
NEAR = RunEnd(State.PRUNED, 0.5, 4)
EARLY = RunEnd(State.PRUNED, 0.45, 2)


def test_the_lowest_wer_of_those_that_trained_to_the_end_wins_the_earlier_of_equals() -> None:
    whole, cut = RunEnd(State.FINISHED, 0.9, 8), RunEnd(State.CUT, 0.8, 6)
    assert winner({0: LOST, 1: NEAR, 2: whole, 3: cut}, RUNGS) == 3
    assert winner({5: whole, 2: whole}, RUNGS) == 2
    assert winner({0: RunEnd(State.FINISHED, None, 8), 1: NEAR}, RUNGS) == 1


def test_else_the_best_of_the_pruned_ones_that_came_furthest() -> None:
    again = RunEnd(State.PRUNED, 0.48, 5)
    assert winner({0: LOST, 1: EARLY, 2: NEAR}, RUNGS) == 2
    assert winner({1: EARLY, 2: NEAR, 3: again}, RUNGS) == 3, "rung 4 too, an epoch later"
    assert winner({1: EARLY, 2: NEAR}, ()) == 1, "another pruner has no rungs"


def test_a_search_may_find_nothing() -> None:
    assert winner({}, RUNGS) is None
    failed, paused = RunEnd(State.FAILED, None), RunEnd(State.PAUSED, 0.2, 4)
    blind = RunEnd(State.PRUNED, None, 4)
    assert winner({0: LOST, 1: failed, 2: paused, 3: blind}, RUNGS) is None
