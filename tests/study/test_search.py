from dataclasses import replace

import optuna
import pytest

from bench.core.errors import UserError
from bench.study.search import PRUNERS, SAMPLERS, distribution, make_pruner, make_sampler
from bench.study.space import Dimension, load_budget, load_budgets

SPACE = {
    "rate": Dimension(low=1e-3, high=1e-1, log=True, default=1e-2),
    "bins": Dimension(low=0, high=8, default=0),
    "cell": Dimension(choices=("gru", "lstm"), default="gru"),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_stays_in_the_space_and_repeats_with_its_seed(sampler: str) -> None:
    budget = replace(load_budget("smoke"), sampler=sampler, num_trials=8)

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


@pytest.mark.parametrize("pruner", PRUNERS)
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
        make_sampler(replace(load_budget("smoke"), sampler="tpa"), 0)
    with pytest.raises(UserError, match="unknown pruner 'medium'"):
        make_pruner(replace(load_budget("smoke"), pruner="medium"))
