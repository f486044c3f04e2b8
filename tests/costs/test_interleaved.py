"""Slices, rounds and ratios, with a clock that only the systems advance."""

from dataclasses import dataclass, field

import pytest

from bench.costs.interleaved import (
    OWN_LOOP,
    EnergyMeter,
    InterleavedBenchmark,
    Meter,
    Slice,
    run_slice,
)
from bench.training.progress import Progress


@dataclass
class FakeClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeBaseline:
    """Trains 10 s of audio a step."""

    clock: FakeClock
    seconds_per_step: list[float]
    num_steps: int = 0

    def __call__(self, seconds: float) -> Slice:
        return run_slice(self._step, seconds, clock=self.clock)

    def _step(self) -> float:
        self.clock.now += self.seconds_per_step[min(self.num_steps, len(self.seconds_per_step) - 1)]
        self.num_steps += 1
        return 10.0


def progress(step: int, speed: float, *, evaluated: bool = False) -> Progress:
    return Progress(
        step=step,
        epoch=step / 4,
        num_epochs=9,
        seconds=0.0,
        metrics={"train/audio_seconds_per_second": speed},
        evaluated=evaluated,
    )


@dataclass
class Setup:
    """Each step of the loop trains 6 s of audio; logging takes `log_seconds`."""

    log_seconds: float = 0.0
    num_rounds: int = 2
    family: list[float] = field(default_factory=lambda: [5.0])
    rounds_done: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.baselines = {
            "family": FakeBaseline(self.clock, self.family),
            "torch_baseline": FakeBaseline(self.clock, [1.0]),
        }
        self.benchmark = InterleavedBenchmark(
            meter=Meter(iter([6.0] * 1000)),
            baselines=self.baselines,
            log=self._log,
            slice_seconds=4.0,
            num_rounds=self.num_rounds,
            on_round=self.rounds_done.append,
            clock=self.clock,
        )

    def _log(self, _: Progress) -> None:
        self.clock.now += self.log_seconds


def test_a_meter_adds_up_the_audio_of_the_steps_between_two_reports() -> None:
    meter = Meter(iter([1.0, 2.0, 3.0, 4.0]))
    assert meter(progress(2, speed=6.0)) == Slice(audio_seconds=3.0, seconds=0.5)
    assert meter(progress(4, speed=1.0)) == Slice(audio_seconds=7.0, seconds=7.0)


def test_baselines_train_for_as_long_as_the_loop_did() -> None:
    setup = Setup()
    setup.benchmark(progress(1, speed=2.0))  # 3 s of training
    assert [c.num_steps for c in setup.baselines.values()] == [0, 0]
    setup.benchmark(progress(2, speed=2.0))  # 6 s
    assert [c.num_steps for c in setup.baselines.values()] == [2, 6]
    assert setup.clock.now == 2 * 5 + 6 * 1


def test_the_warm_up_round_is_excluded() -> None:
    setup = Setup(family=[5.0, 5.0, 2.0])
    setup.benchmark(progress(2, speed=2.0))
    assert setup.benchmark.rounds == []
    setup.benchmark(progress(4, speed=3.0))
    (slices,) = setup.benchmark.rounds
    assert slices[OWN_LOOP] == Slice(audio_seconds=12.0, seconds=4.0)
    assert slices["family"] == Slice(audio_seconds=20.0, seconds=4.0)
    assert slices["torch_baseline"] == Slice(audio_seconds=40.0, seconds=4.0)
    assert setup.rounds_done == [1, 2]


def test_ratios_are_computed_within_rounds() -> None:
    setup = Setup(num_rounds=3)
    for step, speed in enumerate((3.0, 1.0, 2.0, 1.5), start=1):
        setup.benchmark(progress(4 * step, speed=speed))
    assert setup.benchmark.rate("torch_baseline") == 10.0
    assert setup.benchmark.rate(OWN_LOOP) == 1.5
    found = setup.benchmark.compare("torch_baseline")
    assert found.audio_seconds_per_second == 10.0
    ratios = (found.ratio_low, found.ratio, found.ratio_high)
    assert ratios == pytest.approx((0.1, 0.15, 0.2))


def test_logging_counts_as_time_of_the_loop_and_baselines_do_not() -> None:
    setup = Setup(log_seconds=0.5)
    for step in (2, 4, 6):
        setup.benchmark(progress(step, speed=3.0))
    assert setup.benchmark.logging_seconds == pytest.approx(1.5)
    assert setup.benchmark.rounds[0][OWN_LOOP] == Slice(audio_seconds=12.0, seconds=4.5)
    assert setup.benchmark.rate(OWN_LOOP) == pytest.approx(12 / 4.5)


def test_the_run_ends_at_the_evaluation_after_the_last_round() -> None:
    setup = Setup(num_rounds=1)
    assert not setup.benchmark(progress(2, speed=2.0, evaluated=True))
    assert not setup.benchmark(progress(4, speed=2.0))
    assert setup.benchmark.is_over
    steps = setup.baselines["torch_baseline"].num_steps
    assert not setup.benchmark(progress(6, speed=2.0))
    assert setup.benchmark(progress(8, speed=2.0, evaluated=True))
    assert setup.baselines["torch_baseline"].num_steps == steps
    assert len(setup.benchmark.rounds) == 1


def test_a_slice_waits_for_the_device() -> None:
    clock = FakeClock()

    def synchronize() -> None:
        clock.now += 1.0

    result = run_slice(lambda: 10.0, 3.0, synchronize=synchronize, clock=clock)
    assert result == Slice(audio_seconds=30.0, seconds=3.0)


def test_energy_is_that_of_the_loop_without_its_baselines() -> None:
    """A counter that goes on while a baseline trains within a report."""
    joules = iter([0.0, 100.0, 900.0, 1000.0])  # after report 1, at 2, after its baselines, at 3
    meter = EnergyMeter(lambda: next(joules))
    assert meter.joules_per_audio_hour is None
    joules_before_the_first = EnergyMeter(lambda: 5.0)
    joules_before_the_first.pause(60.0)
    assert joules_before_the_first.joules_per_audio_hour is None, "it began at an unknown moment"
    meter.resume()
    meter.pause(20.0)
    meter.resume()
    meter.pause(30.0)
    assert meter.joules_per_audio_hour == pytest.approx((100 + 100) / 50 * 3600)
    unknown = EnergyMeter(lambda: None)
    unknown.resume()
    unknown.pause(20.0)
    assert unknown.joules_per_audio_hour is None


def test_a_benchmark_meters_between_its_reports() -> None:
    clock, read = FakeClock(), []

    def energy() -> float:
        read.append(clock.now)
        return 50 * clock.now  # 50 W, whoever computes

    benchmark = InterleavedBenchmark(
        meter=Meter(iter([6.0] * 4)), baselines={"torch_baseline": FakeBaseline(clock, [7.0])},
        log=lambda _: None, slice_seconds=1.0, num_rounds=1, energy=energy, clock=clock,
    )  # fmt: skip
    for step in range(1, 4):
        clock.now += 2.0  # 6 s of audio in 2 s
        benchmark(progress(step, speed=3.0))
    assert clock.now > 3 * 2.0, "baselines took their time"
    assert benchmark.energy.joules_per_audio_hour == pytest.approx(50 * 2 / 6 * 3600)
