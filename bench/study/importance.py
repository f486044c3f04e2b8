"""How much each searched setting mattered to how well a trial did."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from bench.study.search import distribution
from bench.study.space import Dimension

MIN_TRIALS = 10
"""Below so many, importances are noise."""


def importances(
    searched: Mapping[str, Dimension], trials: Sequence[tuple[Mapping[str, object], float]]
) -> dict[str, float]:
    """The importance of each setting in separating the best trials from the others, by PED-ANOVA
    (Watanabe et al., IJCAI 2023); shares add up to one.

    Args:
        searched: the dimensions by key.
        trials: settings and objective (lower is better) of those that trained to the end.

    Returns:
        By key, in the order of `searched`; empty for fewer than `MIN_TRIALS` trials, or where none
        did better than another.
    """
    spread = {key: distribution(dimension) for key, dimension in searched.items()}
    whole = [(params, value) for params, value in trials if spread.keys() <= params.keys()]
    if len(whole) < MIN_TRIALS or not spread or len({value for _, value in whole}) == 1:
        return {}
    study = optuna.create_study(direction="minimize")
    for params, value in whole:
        study.add_trial(
            optuna.trial.create_trial(
                params={key: params[key] for key in spread}, distributions=spread, value=value
            )
        )
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {key: found[key] for key in searched}
