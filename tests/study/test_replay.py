import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.study.replay import Recording, Search, compare_methods, simulate
from bench.study.space import Budget, Dimension, load_budget

SPACE = {"optim.learning_rate": Dimension(low=1e-4, high=1e-2, log=True, default=1e-3)}


@pytest.fixture
def recording() -> Recording:
    """Twenty rates on a grid; 1e-3 is the best, and the curves never cross."""
    rates = np.geomspace(1e-4, 1e-2, 20)
    final_N = 0.2 + 0.1 * np.abs(np.log10(rates / 1e-3))
    wers_NE = final_N[:, None] + 0.8 * np.exp(-np.arange(1, 7))
    return Recording(
        source="a grid",
        space=SPACE,
        trials=tuple({"optim.learning_rate": float(rate)} for rate in rates),
        wers_NE=wers_NE,
        losses_NE=100 * wers_NE,
    )


@pytest.fixture
def budget() -> Budget:
    return replace(load_budget("record"), num_trials=10, startup_trials=2, warmup_epochs=1)


def test_what_is_saved_is_what_is_loaded(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "curves.jsonl")
    again = Recording.load(tmp_path / "curves.jsonl")
    assert again.space == recording.space
    assert again.trials == recording.trials
    np.testing.assert_allclose(again.wers_NE, recording.wers_NE, atol=1e-5)
    np.testing.assert_allclose(again.losses_NE, recording.losses_NE, atol=1e-4)


@pytest.mark.parametrize("text", ["", "[1]\n", '{"source": "x"}\n', "not json\n"])
def test_another_file_is_the_users_mistake(text: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(text)
    with pytest.raises(UserError, match=r"holds no recorded curves .*--save"):
        Recording.load(tmp_path / "other")


def test_few_curves_are_refused(recording: Recording) -> None:
    with pytest.raises(UserError, match=r"8 trials .* got 7 of a grid"):
        replace(recording, trials=recording.trials[:7])


def test_places_follow_the_logarithm(recording: Recording) -> None:
    np.testing.assert_allclose(recording.places()[:, 0], np.linspace(0, 1, 20))


def test_without_a_pruner_every_trial_costs_all_epochs(
    recording: Recording, budget: Budget
) -> None:
    search = simulate(recording, budget, 60, seed=3)
    assert list(search.num_epochs) == [6.0 * n for n in range(1, 11)]
    assert (np.diff(search.best) <= 0).all()
    assert set(search.best) <= set(recording.wers_NE.min(axis=1))


def test_a_pruner_saves_epochs_and_keeps_the_best(recording: Recording, budget: Budget) -> None:
    pruned = simulate(recording, replace(budget, pruner="median"), 60, seed=3)
    assert len(pruned.best) > 10
    # Curves that never cross lose nothing to the median rule.
    assert pruned.best[-1] <= simulate(recording, budget, 60, seed=3).best[-1]


def test_what_a_search_had_after_so_many_epochs() -> None:
    search = Search(np.array([6.0, 8.0, 14.0]), np.array([0.4, 0.4, 0.3]))
    assert search.best_within(13) == 0.4
    assert search.best_within(5) == math.inf
    assert search.epochs_to(0.35) == 14
    assert search.epochs_to(0.1) == math.inf


def test_tpe_needs_less_compute_than_random_search_on_a_smooth_curve(
    recording: Recording, budget: Budget
) -> None:
    random, tpe = compare_methods(
        recording, budget, [("random", "none"), ("tpe", "median")], 30, seed=0
    )
    assert random.share_better == 0.5
    assert 0.1 < random.compute <= 1.5
    assert tpe.compute < random.compute
    assert tpe.best_wer <= random.best_wer
    assert tpe.compute_low <= tpe.compute <= tpe.compute_high
