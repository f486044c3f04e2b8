"""Turns, rounds and ratios, by a clock that only the contenders move."""

from dataclasses import dataclass, field

import pytest

from bench.costs.contest import Contest, Meter, Turn, take_turn
from bench.training.progress import Progress


@dataclass
class FakeClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeContender:
    """Trains 10 s of audio a step."""

    clock: FakeClock
    seconds_per_step: list[float]
    num_steps: int = 0

    def __call__(self, seconds: float) -> Turn:
        return take_turn(self._step, seconds, clock=self.clock)

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
class Scene:
    """Steps of ours hold 6 s of audio each; logging takes `log_seconds`."""

    log_seconds: float = 0.0
    num_rounds: int = 2
    family: list[float] = field(default_factory=lambda: [5.0])
    ticks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.others = {
            "family": FakeContender(self.clock, self.family),
            "plain": FakeContender(self.clock, [1.0]),
        }
        self.contest = Contest(
            meter=Meter(iter([6.0] * 1000)),
            others=self.others,
            log=self._log,
            turn_seconds=4.0,
            num_rounds=self.num_rounds,
            tick=self.ticks.append,
            clock=self.clock,
        )

    def _log(self, _: Progress) -> None:
        self.clock.now += self.log_seconds


def test_a_meter_adds_up_the_audio_of_the_steps_between_two_reports() -> None:
    meter = Meter(iter([1.0, 2.0, 3.0, 4.0]))
    assert meter(progress(2, speed=6.0)) == Turn(audio_seconds=3.0, seconds=0.5)
    assert meter(progress(4, speed=1.0)) == Turn(audio_seconds=7.0, seconds=7.0)


def test_the_others_wait_until_ours_has_had_its_turn_and_get_as_much() -> None:
    scene = Scene()
    scene.contest(progress(1, speed=2.0))  # 3 s of training
    assert [c.num_steps for c in scene.others.values()] == [0, 0]
    scene.contest(progress(2, speed=2.0))  # 6 s
    assert [c.num_steps for c in scene.others.values()] == [2, 6]
    assert scene.clock.now == 2 * 5 + 6 * 1


def test_the_first_round_does_not_count() -> None:
    scene = Scene(family=[5.0, 5.0, 2.0])
    scene.contest(progress(2, speed=2.0))
    assert scene.contest.rounds == []
    scene.contest(progress(4, speed=3.0))
    (turns,) = scene.contest.rounds
    assert turns["ours"] == Turn(audio_seconds=12.0, seconds=4.0)
    assert turns["family"] == Turn(audio_seconds=20.0, seconds=4.0)
    assert turns["plain"] == Turn(audio_seconds=40.0, seconds=4.0)
    assert scene.ticks == [1, 2]


def test_a_ratio_is_the_median_of_those_within_the_rounds() -> None:
    scene = Scene(num_rounds=3)
    for step, speed in enumerate((3.0, 1.0, 2.0, 1.5), start=1):
        scene.contest(progress(4 * step, speed=speed))
    assert scene.contest.rate("plain") == 10.0
    assert scene.contest.rate("ours") == 1.5
    ratio = scene.contest.ratio("plain")
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.1, 0.15, 0.2))


def test_logging_counts_as_time_of_ours_and_the_others_turns_do_not() -> None:
    scene = Scene(log_seconds=0.5)
    for step in (2, 4, 6):
        scene.contest(progress(step, speed=3.0))
    assert scene.contest.logging_seconds == pytest.approx(1.5)
    assert scene.contest.rounds[0]["ours"] == Turn(audio_seconds=12.0, seconds=4.5)
    assert scene.contest.rate("ours") == pytest.approx(12 / 4.5)


def test_the_run_ends_at_the_evaluation_after_the_last_round_and_no_one_trains_till_then() -> None:
    scene = Scene(num_rounds=1)
    assert not scene.contest(progress(2, speed=2.0, evaluated=True))
    assert not scene.contest(progress(4, speed=2.0))
    assert scene.contest.is_over
    steps = scene.others["plain"].num_steps
    assert not scene.contest(progress(6, speed=2.0))
    assert scene.contest(progress(8, speed=2.0, evaluated=True))
    assert scene.others["plain"].num_steps == steps
    assert len(scene.contest.rounds) == 1


def test_a_turn_waits_for_the_device() -> None:
    clock = FakeClock()

    def synchronize() -> None:
        clock.now += 1.0

    turn = take_turn(lambda: 10.0, 3.0, synchronize=synchronize, clock=clock)
    assert turn == Turn(audio_seconds=30.0, seconds=3.0)
