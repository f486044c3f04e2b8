"""Samplers and pruners of Optuna, by name."""

import math
from collections.abc import Callable, Mapping

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from bench.core.lookup import look_up
from bench.study.space import HALVING, Budget, Dimension

SAMPLERS: Mapping[str, Callable[[Budget, int], BaseSampler]] = {
    "random": lambda _budget, seed: optuna.samplers.RandomSampler(seed=seed),
    # Bergstra et al., NeurIPS 2011; the first quarter of the trials is drawn at random.
    "tpe": lambda budget, seed: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=budget.num_random_trials
    ),
}
"""Samplers, which propose the next setting; made from the budget and a seed."""

PRUNERS: Mapping[str, Callable[[Budget], BasePruner]] = {
    "none": lambda _budget: optuna.pruners.NopPruner(),
    # Golovin et al., KDD 2017, section 3.2.2: worse than the median of earlier trials at its epoch.
    "median": lambda budget: optuna.pruners.MedianPruner(
        n_startup_trials=budget.startup_trials, n_warmup_steps=budget.warmup_epochs
    ),
    # The queue holds trials at the budget's rungs (bench.study.rungs); Optuna prunes nothing.
    HALVING: lambda _budget: optuna.pruners.NopPruner(),
    # Li et al., MLSys 2020: at each rung a trial goes on if it is in the best third so far.
    "asha": lambda budget: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, budget.warmup_epochs), reduction_factor=3
    ),
}
"""Pruners, which decide after an evaluation whether a trial continues."""


def make_sampler(budget: Budget, seed: int) -> BaseSampler:
    """The sampler that `budget` names.

    Raises:
        UserError: it names none of SAMPLERS.
    """
    # numpy takes seeds of 32 bits.
    return look_up(SAMPLERS, budget.sampler, "sampler")(budget, seed % 2**32)


def make_pruner(budget: Budget) -> BasePruner:
    """The pruner that `budget` names.

    Raises:
        UserError: it names none of PRUNERS.
    """
    return look_up(PRUNERS, budget.pruner, "pruner")(budget)


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution for `dimension`."""
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=dimension.log)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=dimension.log)


_RUNG = "completed_rung_"
"""Prefix of the attributes in which Optuna's ASHA pruner stores a trial's value at a rung."""


def rank_last(trial: Trial) -> None:
    """Let `trial`, which has diverged and still runs for Optuna, be worse than every finite one.

    To the sampler it is infeasible, and so comes after all others. Whatever it reported before it
    diverged becomes infinite, also on the rungs where ASHA compares trials; the run's
    record keeps what it measured. May be called again.
    """
    storage, trial_id = trial.storage, trial._trial_id
    frozen = storage.get_trial(trial_id)
    for step in frozen.intermediate_values:
        storage.set_trial_intermediate_value(trial_id, step, math.inf)
    for key in frozen.system_attrs:
        if key.startswith(_RUNG):
            storage.set_trial_system_attr(trial_id, key, math.inf)
    if not frozen.constraints:
        trial.set_constraint("diverged", 1.0)
