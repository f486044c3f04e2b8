"""Contenders that train in turn in one run, so that whatever else the machine does hits all.

Our own loop cannot be stopped and gone on with for a few seconds at a time, but it calls a report
every few steps: the others take their turns inside that call.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from bench.training.progress import Progress

OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one contender did in one round."""

    audio_seconds: float
    seconds: float

    @property
    def rate(self) -> float:
        """Audio seconds trained per second."""
        return self.audio_seconds / self.seconds

    def __add__(self, other: "Turn") -> "Turn":
        return Turn(
            audio_seconds=self.audio_seconds + other.audio_seconds,
            seconds=self.seconds + other.seconds,
        )


NO_TURN = Turn(audio_seconds=0.0, seconds=0.0)

Contender = Callable[[float], Turn]
"""Trains for at least so many seconds, one step at least."""


def take_turn(
    step: Callable[[], float],
    seconds: float,
    *,
    synchronize: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Turn:
    """Train by `step`, which returns the audio of a batch in seconds, without padding;
    `synchronize` waits for the device."""
    synchronize()
    begun, audio, spent = clock(), 0.0, 0.0
    while spent < seconds:
        audio += step()
        synchronize()
        spent = clock() - begun
    return Turn(audio_seconds=audio, seconds=spent)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast as another; over the rounds."""

    median: float
    low: float
    high: float


class Meter:
    """Turns what the loop reports into turns: steps alone, without evaluations and checkpoints.

    `audio_of_steps` gives the audio of each step of the run, in order.
    """

    def __init__(self, audio_of_steps: Iterator[float]) -> None:
        self._audio_of_steps = audio_of_steps
        self._step = 0

    def __call__(self, progress: Progress) -> Turn:
        """What was trained since the report before."""
        steps = range(self._step, progress.step)
        self._step = progress.step
        audio = sum(next(self._audio_of_steps) for _ in steps)
        speed = progress.metrics["train/audio_seconds_per_second"]
        return Turn(audio_seconds=audio, seconds=audio / speed)


class Contest:
    """A report for `bench.training.loop.train` in which the others take their turns.

    A round is over when ours has trained for `turn_seconds` (at its next report) and each of the
    others for as long as ours did (one step at least). The first round warms up and does not count.
    After the last one ours goes on to its next evaluation, so that what it did is whole epochs.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        others: Mapping[str, Contender],
        log: Callable[[Progress], None],
        turn_seconds: float,
        num_rounds: int,
        tick: Callable[[int], None] = lambda done: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`log` keeps ours' progress, `tick` hears of rounds done."""
        self._meter, self._others, self._log = meter, others, log
        self._turn_seconds, self._num_rounds = turn_seconds, num_rounds
        self._tick, self._clock = tick, clock
        self._ours = NO_TURN
        self._all_rounds: list[dict[str, Turn]] = []
        self.logging_seconds = 0.0
        """Spent in `log`."""

    def __call__(self, progress: Progress) -> bool:
        """Log, let the others have their turns if it is time; true to end the run."""
        begun = self._clock()
        self._log(progress)
        logged = self._clock() - begun
        self.logging_seconds += logged
        self._ours += self._meter(progress) + Turn(audio_seconds=0.0, seconds=logged)
        if self._ours.seconds >= self._turn_seconds and not self.is_over:
            turns = {OURS: self._ours}
            for name, contender in self._others.items():
                turns[name] = contender(self._ours.seconds)
            self._ours = NO_TURN
            self._all_rounds.append(turns)
            self._tick(len(self._all_rounds))
        return self.is_over and progress.evaluated

    @property
    def is_over(self) -> bool:
        """Whether all rounds were held."""
        return len(self._all_rounds) > self._num_rounds

    @property
    def rounds(self) -> list[dict[str, Turn]]:
        """The rounds that count: the turns of each contender by name, ours among them."""
        return self._all_rounds[1:]

    def rate(self, name: str) -> float:
        """Audio seconds per second, median over the rounds."""
        return median(turns[name].rate for turns in self.rounds)

    def ratio(self, name: str) -> Ratio:
        """How many times as fast ours is, round by round."""
        ratios = [turns[OURS].rate / turns[name].rate for turns in self.rounds]
        return Ratio(median=median(ratios), low=min(ratios), high=max(ratios))
