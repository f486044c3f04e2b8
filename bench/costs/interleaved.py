"""The interleaved benchmark: the training loop and its baselines train alternately in one run.

Rates of one machine vary from minute to minute with its other load. Within a round all train close
in time, so the ratio of their rates varies much less than the rates.

    round 0 (warm-up)          round 1                    round 2
    loop | family | torch      loop | family | torch      loop | family | torch      …  time →

The training loop cannot be suspended, but it calls a report every few steps: the baselines train
inside that call.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from bench.training.progress import Progress
from reports.measurements import BaselineSpeed

OWN_LOOP = "own loop"
"""The name of bench.training.loop among those of the baselines."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What one system trained in one round."""

    audio_seconds: float
    """Without padding."""
    seconds: float
    """Wall time."""

    @property
    def rate(self) -> float:
        """Audio seconds trained per second."""
        return self.audio_seconds / self.seconds

    def __add__(self, other: "Slice") -> "Slice":
        return Slice(
            audio_seconds=self.audio_seconds + other.audio_seconds,
            seconds=self.seconds + other.seconds,
        )


EMPTY_SLICE = Slice(audio_seconds=0.0, seconds=0.0)

Baseline = Callable[[float], Slice]
"""Trains for at least the given seconds, and at least one step."""


def run_slice(
    step: Callable[[], float],
    seconds: float,
    *,
    synchronize: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Slice:
    """Repeat `step` for at least `seconds`.

    Args:
        step: trains on one batch; returns its seconds of audio, without padding.
        seconds: wall time.
        synchronize: waits for the device.
        clock: in seconds; tests replace it.
    """
    synchronize()
    begun, audio, spent = clock(), 0.0, 0.0
    while spent < seconds:
        audio += step()
        synchronize()
        spent = clock() - begun
    return Slice(audio_seconds=audio, seconds=spent)


class Meter:
    """Converts reports of the training loop to slices of its steps alone, without evaluations and
    checkpoints."""

    def __init__(self, audio_of_steps: Iterator[float]) -> None:
        """`audio_of_steps` yields the seconds of audio of each step of the run, in order."""
        self._audio_of_steps = audio_of_steps
        self._step = 0

    def __call__(self, progress: Progress) -> Slice:
        """The steps since the previous report."""
        steps = range(self._step, progress.step)
        self._step = progress.step
        audio = sum(next(self._audio_of_steps) for _ in steps)
        # By the loop's own clock, which stands still while it evaluates and saves.
        speed = progress.metrics["train/audio_seconds_per_second"]
        return Slice(audio_seconds=audio, seconds=audio / speed)


class EnergyMeter:
    """The energy of the training loop's device while the loop trains, without that of the
    baselines, which train within its reports."""

    def __init__(self, read: Callable[[], float | None]) -> None:
        """`read` gives the joules so far, of all that the device does; None is unknown."""
        self._read = read
        self._since: float | None = None
        self._joules = self._audio_seconds = 0.0

    def pause(self, audio_seconds: float) -> None:
        """The loop reports that it has trained so much audio since the last report."""
        now = self._read()
        if self._since is not None and now is not None:
            self._joules += now - self._since
            self._audio_seconds += audio_seconds

    def resume(self) -> None:
        """The loop goes on."""
        self._since = self._read()

    @property
    def joules_per_audio_hour(self) -> float | None:
        """From the loop's second report on, evaluations and checkpoints included; None if it is
        unknown."""
        return self._joules / self._audio_seconds * 3600 if self._audio_seconds else None


class InterleavedBenchmark:
    """A report for `bench.training.loop.train` that runs the baselines between its steps.

    A round ends once the loop has trained for `slice_seconds` (checked at each report) and then
    each baseline for as long as the loop did (at least one step). The first round is warm-up and is
    excluded. After the last round the loop trains on to its next evaluation, so the shares of time
    are those of whole epochs.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        baselines: Mapping[str, Baseline],
        log: Callable[[Progress], None],
        slice_seconds: float,
        num_rounds: int,
        on_round: Callable[[int], None] = lambda num_done: None,
        energy: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`log` records the loop's progress, `energy` is as EnergyMeter reads it, and `on_round`
        gets the number of rounds done."""
        self._meter, self._baselines, self._log = meter, baselines, log
        self._slice_seconds, self._num_rounds = slice_seconds, num_rounds
        self._on_round, self._clock = on_round, clock
        self._current = EMPTY_SLICE
        self._all_rounds: list[dict[str, Slice]] = []
        self.logging_seconds = 0.0
        """Spent in `log`."""
        self.energy = EnergyMeter(energy)

    def __call__(self, progress: Progress) -> bool:
        """Log, and run the baselines if their slices are due; True to end the run."""
        begun = self._clock()
        self._log(progress)
        logged = self._clock() - begun
        self.logging_seconds += logged
        # The family baseline logs within its slice, so logging counts for the loop too.
        trained = self._meter(progress)
        self.energy.pause(trained.audio_seconds)
        self._current += trained + Slice(audio_seconds=0.0, seconds=logged)
        if self._current.seconds >= self._slice_seconds and not self.is_over:
            slices = {OWN_LOOP: self._current}
            for name, baseline in self._baselines.items():
                slices[name] = baseline(self._current.seconds)
            self._current = EMPTY_SLICE
            self._all_rounds.append(slices)
            self._on_round(len(self._all_rounds))
        self.energy.resume()
        return self.is_over and progress.evaluated

    @property
    def is_over(self) -> bool:
        """True once all rounds are done."""
        return len(self._all_rounds) > self._num_rounds

    @property
    def rounds(self) -> list[dict[str, Slice]]:
        """Slices by name, one dict a round, without the warm-up."""
        return self._all_rounds[1:]

    def rate(self, name: str) -> float:
        """Audio seconds per second, median over the rounds."""
        return median(slices[name].rate for slices in self.rounds)

    def compare(self, name: str) -> BaselineSpeed:
        """The rate of baseline `name`, and the ratios of the loop's rate to it."""
        ratios = [slices[OWN_LOOP].rate / slices[name].rate for slices in self.rounds]
        return BaselineSpeed(
            audio_seconds_per_second=self.rate(name),
            ratio=median(ratios),
            ratio_low=min(ratios),
            ratio_high=max(ratios),
        )
