"""Successive halving that continues its trials, replayed over recorded learning curves.

A schedule begins a number of trials, and at each rung (an epoch) lets the best of them go on, from
where they are. Which are the best is a function of the values at the rung alone, so the outcome
does not depend on the number of workers. Its compute is counted in epochs of training.

The trials of a simulated search are drawn from the recorded ones, with replacement. So the replay
knows one variant and one corpus, and its best possible setting is the best of N.

Legend: N recorded trials, E epochs, S simulated searches, T trials of a search.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.study.replay import Recording
from bench.study.rungs import FACTOR, num_epochs, sizes

Criterion = Literal["WER", "loss"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A search of `num_trials` trials; without rungs, random search."""

    num_trials: int
    rungs: tuple[int, ...] = ()
    """Epochs, ascending, at which only the best go on."""
    factor: int = FACTOR
    """One in so many goes on at a rung, rounded up."""
    criterion: Criterion = "WER"
    """On valid, by which trials are ranked at a rung. The winner is chosen by WER."""
    continues: bool = True
    """False: trials that go on begin again, and pay for their first epochs twice."""

    def sizes(self) -> tuple[int, ...]:
        """The number of trials that train towards each rung, and to the end."""
        return sizes(self.num_trials, len(self.rungs), self.factor)

    def num_epochs(self, of_trial: int) -> int:
        """Epochs of training of the whole search, `of_trial` those of a whole trial."""
        if self.continues:
            return num_epochs(self.sizes(), self.rungs, of_trial)
        ends = (*self.rungs, of_trial)
        return sum(size * end for size, end in zip(self.sizes(), ends, strict=True))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A schedule over many simulated searches. WERs are fractions."""

    schedule: Schedule
    compute: float
    """As a share of that of the yardstick."""
    best_wer: float
    """Mean."""
    gap: float
    """Mean best WER minus that of the yardstick."""
    gap_half_width: float
    """Of its 95 % interval over simulated searches."""
    share_reached: float
    """Of searches whose best WER is at most the yardstick's mean."""


def replay(
    recording: Recording,
    schedules: Sequence[Schedule],
    yardstick: Schedule,
    num_searches: int,
    rng: np.random.Generator,
) -> list[Replayed]:
    """Each of `schedules` in `num_searches` simulated searches, against `yardstick`."""
    whole = yardstick.num_epochs(recording.num_epochs)
    usual_S = best_wers(recording, yardstick, num_searches, rng)
    rows = []
    for schedule in schedules:
        found_S = best_wers(recording, schedule, num_searches, rng)
        error = math.sqrt((found_S.var() + usual_S.var()) / num_searches)
        rows.append(
            Replayed(
                schedule=schedule,
                compute=schedule.num_epochs(recording.num_epochs) / whole,
                best_wer=float(found_S.mean()),
                gap=float(found_S.mean() - usual_S.mean()),
                gap_half_width=1.96 * error,
                share_reached=float((found_S <= usual_S.mean()).mean()),
            )
        )
    return rows


def best_wers(
    recording: Recording, schedule: Schedule, num_searches: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The best WER [S] of simulated searches: of the trials that trained to the end."""
    by_epoch = {"WER": recording.wers_NE, "loss": recording.losses_NE}[schedule.criterion]
    # A row a search, which holds the places of its trials in the recording; a rung keeps the best:
    #
    #     trials drawn    7 2 2 9     WER at the rung  .4 .3 .3 .5
    #     after it        2 2         the stable order decides between equals
    alive_ST = rng.integers(0, len(recording.trials), (num_searches, schedule.num_trials))
    for rung, size in zip(schedule.rungs, schedule.sizes()[1:], strict=True):
        order_ST = np.argsort(by_epoch[alive_ST, rung - 1], axis=1, kind="stable")
        alive_ST = np.take_along_axis(alive_ST, order_ST[:, :size], axis=1)
    best_S: NDArray[np.float64] = recording.wers_NE.min(axis=1)[alive_ST].min(axis=1)
    return best_S


def candidates(num_trials: int, num_epochs: int) -> Iterator[Schedule]:
    """What is worth a try where random search has `num_trials` trials of `num_epochs` epochs: that
    random search with less compute, then halving with rungs at powers of two and three, and with
    one at half of a trial."""
    for share in (1, 2 / 3, 1 / 3):
        yield Schedule(num_trials=max(1, round(share * num_trials)))
    doubling = tuple(2**k for k in range(num_epochs.bit_length()) if 2**k < num_epochs)
    tripling = tuple(3**k for k in range(num_epochs.bit_length()) if 3**k < num_epochs)
    ladders = [
        (2, doubling),
        (2, doubling[1:]),
        (3, tripling),
        (3, doubling[:2]),
        (4, doubling[1:2]),
        (2, (num_epochs // 2,)),
    ]
    # A ladder without a rung, or with one at epoch 0 (of trials of one epoch), is no halving.
    for factor, rungs in dict.fromkeys((factor, rungs) for factor, rungs in ladders if any(rungs)):
        for number in (2 * num_trials // 3, num_trials, 4 * num_trials // 3):
            for criterion in ("WER", "loss"):
                yield Schedule(num_trials=number, rungs=rungs, factor=factor, criterion=criterion)
        yield Schedule(num_trials=num_trials, rungs=rungs, factor=factor, continues=False)
