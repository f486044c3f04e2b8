import math
from dataclasses import replace

import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import TrialState

from bench.core.errors import UserError
from bench.study.search import (
    PRUNERS,
    SAMPLERS,
    distribution,
    make_pruner,
    make_sampler,
    rank_last,
)
from bench.study.space import HALVING, Dimension, load_budget, load_budgets

SPACE = {
    "rate": Dimension(low=1e-3, high=1e-1, log=True, default=1e-2),
    "bins": Dimension(low=0, high=8, default=0),
    "cell": Dimension(choices=("gru", "lstm"), default="gru"),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_stays_in_the_space_and_repeats_with_its_seed(sampler: str) -> None:
    budget = replace(load_budget("smoke"), sampler=sampler, pruner="none", num_trials=8)

    def proposals(seed: int) -> list[dict[str, object]]:
        study = optuna.create_study(sampler=make_sampler(budget, seed))
        made = []
        for _ in range(6):
            trial = study.ask({key: distribution(d) for key, d in SPACE.items()})
            study.tell(trial, float(trial.params["bins"]))
            made.append(trial.params)
        return made

    assert proposals(1) == proposals(1) != proposals(2)
    for params in proposals(1):
        assert 1e-3 <= params["rate"] <= 1e-1
        assert params["bins"] in range(9)
        assert params["cell"] in ("gru", "lstm")


@pytest.mark.parametrize("pruner", sorted({*PRUNERS} - {HALVING}))
def test_a_hopeless_trial_is_given_up_unless_nothing_is_pruned(pruner: str) -> None:
    budget = replace(load_budget("smoke"), pruner=pruner, startup_trials=2, warmup_epochs=2)
    study = optuna.create_study(pruner=make_pruner(budget))

    def epochs_of(wer: float) -> int:
        """Of nine, those that a trial which stays at `wer` trains."""
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(wer, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return epoch
        study.tell(trial, wer)
        return 9

    for wer in (0.23, 0.22, 0.21, 0.2):
        assert epochs_of(wer) == 9
    assert (epochs_of(0.9) < 9) is (pruner != "none")


def test_every_budget_names_what_exists() -> None:
    for budget in load_budgets().values():
        make_sampler(budget, 0)
        make_pruner(budget)


def test_an_unknown_name_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="unknown sampler 'tpa'"):
        make_sampler(replace(load_budget("smoke"), sampler="tpa", pruner="none"), 0)
    with pytest.raises(UserError, match="unknown pruner 'medium'"):
        make_pruner(replace(load_budget("smoke"), pruner="medium"))


def diverge(study: optuna.Study, *wers: float) -> None:
    """A trial that reports `wers` and diverges."""
    trial = study.ask()
    for epoch, wer in enumerate(wers, start=1):
        trial.report(wer, epoch)
        trial.should_prune()
    for _ in range(2):  # the first answer may be lost
        rank_last(trial)
    study.tell(trial, state=TrialState.PRUNED)


def test_to_the_sampler_a_diverged_trial_is_worse_than_any_other() -> None:
    study = optuna.create_study()
    diverge(study, 0.1, 0.05, 0.01)
    diverge(study)
    for wer, state in ((0.9, TrialState.PRUNED), (3.0, TrialState.COMPLETE)):
        trial = study.ask()
        trial.report(wer, 1)
        study.tell(trial, wer if state == TrialState.COMPLETE else None, state=state)
    trials = study.get_trials(deepcopy=False)
    below, above = _split_trials(study, trials, n_below=2)
    assert [t.number for t in below] == [2, 3]
    assert [t.number for t in above] == [0, 1]
    assert trials[0].value == math.inf
    assert set(trials[0].intermediate_values.values()) == {math.inf}
    assert study.best_trial.number == 3


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_diverged_trial_prunes_no_other(pruner: str) -> None:
    """Three trials are as good as one another; had the diverged ones kept their good reports, the
    ASHA would give all three up."""
    budget = replace(load_budget("smoke"), pruner=pruner, startup_trials=2, warmup_epochs=1)
    study = optuna.create_study(pruner=make_pruner(budget))
    for _ in range(3):
        diverge(study, 0.1, 0.1)
    trial = study.ask()
    trial.report(0.5, 1)
    assert not trial.should_prune()
