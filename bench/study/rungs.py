"""Successive halving whose trials go on from where they are: who may pass a rung.

A rung is an epoch. A trial that reaches one waits there until every other trial of the rung has
reached it or has ended; then the better half goes on, and the others are given up (Jamieson and
Talwalkar, AISTATS 2016, with one bracket). Which are better follows from the WERs at the rung
alone, so it depends neither on the number of workers nor on who asks, and nobody has to write the
decision down.

    rungs 2 and 4 of 8 epochs, trials a to d

    epoch   1   2     3   4    5   6   7   8
    a       ──────●
    b       ──────● ────────●  ───────────────►     the best of two
    c       ──────● ────────●
    d       ──────●
                  2 of 4    1 of 2
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

FACTOR = 2
"""One in so many passes a rung, rounded up."""


class Standing(Enum):
    """What a trial may do."""

    GOES_ON = auto()
    WAITS = auto()
    """At a rung that not all have reached."""
    OUT = auto()
    """Others were better at a rung."""


@dataclass(frozen=True, kw_only=True)
class Climber:
    """What the rungs know of a trial."""

    slot: int
    wers: Mapping[int, float]
    """Valid WER at each rung that it has reached."""
    has_ended: bool
    """For good: it will reach no further rung."""


def standings(climbers: Sequence[Climber], rungs: Sequence[int]) -> dict[int, Standing]:
    """The standing of each trial of a search, by slot. `climbers` are all of them, those that have
    not begun too; `rungs` are ascending."""
    found = {climber.slot: Standing.GOES_ON for climber in climbers}
    at_rung = list(climbers)
    for rung in rungs:
        reached = [climber for climber in at_rung if rung in climber.wers]
        if not all(climber.has_ended for climber in at_rung if climber not in reached):
            return found | {climber.slot: Standing.WAITS for climber in reached}
        # A trial that diverged or failed before the rung leaves no more room for others: of 24
        # begun 12 pass, as the budget of compute has it.
        size = next_size(len(at_rung))
        ranked = sorted(reached, key=lambda climber: (climber.wers[rung], climber.slot))
        found |= {climber.slot: Standing.OUT for climber in ranked[size:]}
        at_rung = ranked[:size]
    return found


def next_size(size: int, factor: int = FACTOR) -> int:
    """How many of `size` trials pass a rung."""
    return math.ceil(size / factor)


def sizes(num_trials: int, num_rungs: int, factor: int = FACTOR) -> tuple[int, ...]:
    """The number of trials that train towards each rung, and to the end."""
    found = [num_trials]
    for _ in range(num_rungs):
        found.append(next_size(found[-1], factor))
    return tuple(found)


def num_epochs(sizes: Sequence[int], rungs: Sequence[int], of_trial: int) -> int:
    """Epochs of training of a whole search whose trials go on from where they are: `sizes` of them
    train towards each of `rungs` and to the end of a trial, `of_trial`."""
    ends = (*rungs, of_trial)
    begins = (0, *rungs)
    return sum(n * (end - begin) for n, begin, end in zip(sizes, begins, ends, strict=True))


def rungs_clause(num_trials: int, rungs: Sequence[int], of_trial: int) -> str:
    """What halving does to a search of `num_trials` trials of `of_trial` epochs, in words; ""
    without rungs."""
    if not rungs:
        return ""
    towards = sizes(num_trials, len(rungs))
    share = num_epochs(towards, rungs, of_trial) / (num_trials * of_trial)
    listed = " and ".join(map(str, rungs))
    return (
        f"the better half goes on after epoch{'s' if len(rungs) > 1 else ''} {listed}: "
        f"{' → '.join(map(str, towards))} trials, {100 * share:.0f} % of all their epochs"
    )
