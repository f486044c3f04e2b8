"""Searches over learning curves that were recorded once: what do sampler and pruner buy?

A trial of the replay is the recorded trial nearest to what the sampler proposed, and costs the
epochs that the pruner lets it train. So hundreds of studies cost seconds, and all see real curves.

Legend: N recorded trials, E epochs, K searched keys.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from bench.core.config import Settings, from_dict, to_dict
from bench.core.errors import UserError
from bench.core.files import write_text
from bench.core.seeding import derive
from bench.study.search import distribution, make_pruner, make_sampler
from bench.study.space import Budget, Dimension

FEWEST_TRIALS = 8


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Trials that trained to their last epoch, with what they measured on the way there."""

    source: str
    """The study, in words."""
    space: Mapping[str, Dimension]
    trials: tuple[Settings, ...]
    """N settings of the K searched keys."""
    wers_NE: NDArray[np.float64]
    """Valid WER after each epoch, a fraction."""
    losses_NE: NDArray[np.float64]
    """Valid loss after each epoch."""

    def __post_init__(self) -> None:
        if len(self.trials) < FEWEST_TRIALS:
            raise UserError(
                f"a replay needs {FEWEST_TRIALS} trials that trained to the last epoch, got "
                f"{len(self.trials)} of {self.source}; record them with --budget record"
            )

    @property
    def num_epochs(self) -> int:
        """E."""
        return int(self.wers_NE.shape[1])

    def places(self) -> NDArray[np.float64]:
        """Each trial's place in the space, (N, K), every key from 0 to 1."""
        return np.array([_place(self.space, trial) for trial in self.trials])

    def save(self, path: Path) -> None:
        """Write JSON lines: the space, then a line per trial."""
        head = {"source": self.source, "space": {k: to_dict(d) for k, d in self.space.items()}}
        rows = [
            {"params": dict(trial), "valid/wer": list(wers), "valid/loss": list(losses)}
            for trial, wers, losses in zip(
                self.trials, self.wers_NE.round(5), self.losses_NE.round(4), strict=True
            )
        ]
        write_text(path, "".join(json.dumps(row) + "\n" for row in (head, *rows)))

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """What `save` wrote.

        Raises:
            UserError: no such file, or it holds something else.
        """
        try:
            head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            return cls(
                source=head["source"],
                space={k: from_dict(Dimension, d, f"{k}.") for k, d in head["space"].items()},
                trials=tuple(row["params"] for row in rows),
                wers_NE=np.array([row["valid/wer"] for row in rows], dtype=float),
                losses_NE=np.array([row["valid/loss"] for row in rows], dtype=float),
            )
        except FileNotFoundError as error:
            raise UserError(f"no study and no file is called {path}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} holds no recorded curves ({error}); make it with bench.replay --save"
            ) from error


@dataclass(frozen=True)
class Search:
    """One simulated study: after each trial that ended, in order."""

    num_epochs: NDArray[np.float64]
    """Epochs spent up to there."""
    best: NDArray[np.float64]
    """Lowest WER of the trials that trained to the end, infinite before the first."""

    def best_within(self, num_epochs: int) -> float:
        """The best WER that so many epochs bought."""
        return float(self.best[self.num_epochs <= num_epochs].min(initial=math.inf))

    def epochs_to(self, wer: float) -> float:
        """The epochs after which the best WER is at most `wer`; infinite if it never is."""
        return float(self.num_epochs[self.best <= wer].min(initial=math.inf))


def simulate(recording: Recording, budget: Budget, max_epochs: int, seed: int) -> Search:
    """A study with the sampler and pruner of `budget`, its trials one after another, until
    `max_epochs` are spent. Unlike a real one it does not begin with the defaults, which would hand
    every method the same first result."""
    assert not budget.rungs, "bench.study.schedules replays halving"
    study = optuna.create_study(sampler=make_sampler(budget, seed), pruner=make_pruner(budget))
    distributions = {key: distribution(dimension) for key, dimension in recording.space.items()}
    units_NK = recording.places()
    spent, best = [0], [math.inf]
    while spent[-1] < max_epochs:
        trial = study.ask(distributions)
        place_K = np.array(_place(recording.space, trial.params))
        # The curve of the recorded trial that is nearest, every key scaled to 0 to 1.
        nearest = int(((units_NK - place_K) ** 2).sum(axis=1).argmin())
        wers_E = recording.wers_NE[nearest]
        trained = recording.num_epochs
        # After the last epoch nothing is left to prune.
        for epoch, wer in enumerate(wers_E[:-1], start=1):
            trial.report(float(wer), epoch)
            if trial.should_prune():
                trained = epoch
                break
        ended = trained == recording.num_epochs
        value = float(wers_E.min()) if ended else math.inf
        state = optuna.trial.TrialState.COMPLETE if ended else optuna.trial.TrialState.PRUNED
        study.tell(trial, value if ended else None, state=state)
        spent.append(spent[-1] + trained)
        best.append(min(best[-1], value))
    return Search(np.array(spent[1:], dtype=float), np.array(best[1:]))


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a sampler and a pruner did in many simulated studies. WERs are fractions."""

    sampler: str
    pruner: str
    best_wer: float
    """Mean of the best WER at the compute of random search's whole budget."""
    share_better: float
    """Share of studies whose best WER is then below that of random search with the same seed; a tie
    counts half."""
    compute: float
    """Median epochs to the mean best WER of random search, as a share of random search's budget;
    infinite if more than half of the studies never reach it within twice that budget."""
    compute_low: float
    compute_high: float
    """A 95 % interval of the median over studies (order statistics, binomial)."""
    share_reached: float


def compare_methods(
    recording: Recording,
    budget: Budget,
    methods: Sequence[tuple[str, str]],
    num_studies: int,
    seed: int,
) -> list[Method]:
    """Each (sampler, pruner) of `methods` in `num_studies` studies of `budget.num_trials` trials'
    worth of epochs. The yardstick is random search without a pruner."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    whole = budget.num_trials * recording.num_epochs

    def searches(sampler: str, pruner: str) -> list[Search]:
        told = replace(budget, sampler=sampler, pruner=pruner)
        return [
            # Twice the compute, so that searches that are worse than random ones can reach the
            # target too.
            simulate(recording, told, 2 * whole, derive(seed, "replay", number))
            for number in range(num_studies)
        ]

    random = np.array([search.best_within(whole) for search in searches("random", "none")])
    target = float(random.mean())
    rows = []
    for sampler, pruner in methods:
        own = searches(sampler, pruner)
        best = np.array([search.best_within(whole) for search in own])
        epochs = np.sort([search.epochs_to(target) for search in own]) / whole
        low, high = _median_ranks(num_studies)
        rows.append(
            Method(
                sampler=sampler,
                pruner=pruner,
                best_wer=float(best.mean()),
                share_better=float(((best < random) + 0.5 * (best == random)).mean()),
                # The lower of two middle ones: their mean would be infinite if one never reached
                # the target.
                compute=float(epochs[(num_studies - 1) // 2]),
                compute_low=float(epochs[low]),
                compute_high=float(epochs[high]),
                share_reached=float(np.isfinite(epochs).mean()),
            )
        )
    return rows


def _median_ranks(size: int) -> tuple[int, int]:
    """Places in a sorted sample between which its median lies with 95 % (normal approximation of
    the binomial)."""
    half = 0.98 * math.sqrt(size)  # 1.96 standard deviations of the binomial, sqrt(size) / 2
    return max(0, math.floor(size / 2 - half)), min(size - 1, math.ceil(size / 2 + half))


def _place(space: Mapping[str, Dimension], params: Settings) -> list[float]:
    return [dimension.place(params[key]) for key, dimension in space.items()]
