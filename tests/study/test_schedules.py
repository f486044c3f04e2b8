import numpy as np
import pytest

from bench.study.replay import Recording
from bench.study.schedules import Schedule, best_wers, candidates, replay

NUM, EPOCHS = 12, 8


def recording(*, informative: bool) -> Recording:
    """Trial n ends with a WER of (n + 1) %; its early WERs rank it so, or the other way round."""
    final_N = np.arange(1, NUM + 1) / 100
    early_N = final_N if informative else final_N[::-1]
    wers_NE = np.repeat(0.5 + early_N[:, None], EPOCHS, axis=1)
    wers_NE[:, -1] = final_N
    return Recording(
        source="made up",
        space={},
        trials=tuple({} for _ in range(NUM)),
        wers_NE=wers_NE,
        losses_NE=np.repeat(final_N[:, None], EPOCHS, axis=1),
    )


def test_epochs_are_counted_by_hand() -> None:
    halving = Schedule(num_trials=24, rungs=(1, 2, 4), factor=2)
    assert halving.sizes() == (24, 12, 6, 3)
    assert halving.num_epochs(8) == 24 + 12 + 6 * 2 + 3 * 4
    again = Schedule(num_trials=24, rungs=(1, 2, 4), factor=2, continues=False)
    assert again.num_epochs(8) == 24 + 12 * 2 + 6 * 4 + 3 * 8
    assert Schedule(num_trials=24).num_epochs(8) == 192
    assert Schedule(num_trials=10, rungs=(3,), factor=3).sizes() == (10, 4)


def test_rungs_that_rank_well_find_the_best_and_others_the_worst() -> None:
    schedule, rng = Schedule(num_trials=16, rungs=(2, 4), factor=4), np.random.default_rng(0)
    random = Schedule(num_trials=16)
    found = [
        best_wers(recording(informative=informative), plan, 2000, rng).mean()
        for informative, plan in ((True, schedule), (True, random), (False, schedule))
    ]
    assert found[0] == pytest.approx(found[1], abs=0.001)
    assert found[2] > found[1] + 0.05
    by_loss = Schedule(num_trials=16, rungs=(2, 4), factor=4, criterion="loss")
    assert best_wers(recording(informative=False), by_loss, 2000, rng).mean() == pytest.approx(
        found[1], abs=0.001
    )


def test_random_search_agrees_with_the_expected_minimum() -> None:
    """The expected minimum of T draws with replacement from N ranks, in closed form."""
    made, num_trials = recording(informative=True), 5
    expected = sum(((NUM - rank) / NUM) ** num_trials for rank in range(NUM)) / 100
    (row,) = replay(
        made, [Schedule(num_trials=num_trials)], Schedule(num_trials=10), 20_000,
        np.random.default_rng(1),
    )  # fmt: skip
    assert row.best_wer == pytest.approx(expected, abs=0.0005)
    assert row.compute == 0.5
    assert row.gap > row.gap_half_width > 0


def test_candidates_are_of_different_kinds_and_rungs_lie_within_a_trial() -> None:
    every = list(candidates(24, 8))
    assert len(set(every)) == len(every)
    assert all(rung < 8 for schedule in every for rung in schedule.rungs)
    assert {schedule.criterion for schedule in every} == {"WER", "loss"}
    assert list(candidates(6, 1)) == [Schedule(num_trials=n) for n in (6, 4, 2)]
