import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest
import torch

from bench.core.errors import UserError
from bench.data.batches import Dataset
from bench.data.units import LETTERS
from bench.training import checkpoint
from bench.training.loop import TrainingData
from tests.training.conftest import EXTRAS

MakeRun = Callable[..., Any]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("checkpoint_every_seconds", [0.0, 1e9])
@pytest.mark.parametrize("extras", [{}, EXTRAS])
def test_resuming_is_exact(
    run: MakeRun, optimizer: str, checkpoint_every_seconds: float, extras: dict[str, Any]
) -> None:
    """Dropout, SpecAugment and SortaGrad on; a checkpoint after each step, or each epoch only."""
    changes = extras | {
        "optim.optimizer": optimizer,
        "training.checkpoint_every_seconds": checkpoint_every_seconds,
    }
    undisturbed, killed = run(**changes), run(**changes)
    undisturbed()
    for num_steps in (3, 2, 4):
        torch.manual_seed(num_steps)  # a new process has another state
        killed.dying_after(num_steps)
    result = killed()
    assert killed.left() == undisturbed.left()
    assert killed.left("best.pt") == undisturbed.left("best.pt")
    assert killed.curves == undisturbed.curves
    assert [p.watch for p in killed.evaluations] == [p.watch for p in undisturbed.evaluations]
    assert result.num_steps == undisturbed.reports[-1].step
    if checkpoint_every_seconds == 0:
        steps = [p.step for p in killed.reports]
        assert steps == sorted(set(steps)), "what was saved is not reported again"


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("extras", [{}, EXTRAS])
def test_resuming_after_sigkill_is_exact(run: MakeRun, extras: dict[str, Any]) -> None:
    changes = extras | {"training.checkpoint_every_seconds": 0.0, "training.num_epochs": 2}
    undisturbed, killed = run(**changes), run(**changes)
    undisturbed()
    # A fork has all that is loaded already; torch runs on one thread in tests.
    process = get_context("fork").Process(target=killed.dying_after, args=(6, _kill_this_process))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert killed.left()["loop"]["step"] == 6
    killed()
    assert killed.left() == undisturbed.left()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_twenty_kills_at_random_moments_change_nothing(run: MakeRun) -> None:
    """Whatever the process is doing: a step, an evaluation, the writing of a checkpoint."""
    changes = {"training.checkpoint_every_seconds": 0.02, "training.num_epochs": 600}
    undisturbed, killed = run(**changes), run(**changes)
    undisturbed()
    rng, num_kills = random.Random(3), 0
    while num_kills < 20:
        process = get_context("fork").Process(target=killed)
        process.start()
        process.join(timeout=rng.uniform(0.05, 0.6))
        assert process.exitcode is None, f"the run was over after {num_kills} kills"
        process.kill()
        process.join()
        num_kills += process.exitcode == -signal.SIGKILL
    killed()
    assert killed.left() == undisturbed.left()
    assert killed.left("best.pt") == undisturbed.left("best.pt")


def test_a_stopped_run_resumes_and_a_finished_one_stays(run: MakeRun) -> None:
    undisturbed, stopped = run(), run()
    undisturbed()
    result = stopped(stop=lambda progress: progress.step == 6)
    assert (result.state, result.num_steps, result.num_epochs) == ("stopped", 6, 2)
    again = stopped()
    assert (again.state, again.num_epochs) == ("finished", 3)
    assert stopped.left() == undisturbed.left()
    num_reports = len(stopped.reports)
    # But for the time that writing the last checkpoint took.
    assert replace(stopped(), seconds={}) == replace(again, seconds={})
    assert len(stopped.reports) == num_reports


def test_what_was_reported_is_made_safe_before_each_checkpoint(run: MakeRun) -> None:
    here = run(**{"training.checkpoint_every_seconds": 0})  # after each step
    last = here.directory / "checkpoints" / "last.pt"
    num_safe: list[int] = []
    saved_step: list[int] = []

    def make_safe() -> None:
        num_safe.append(len(here.reports))
        saved_step.append(checkpoint.load(last, torch.device("cpu"))["loop"]["step"])

    result = here(before_save=make_safe)
    saved_step.append(result.num_steps)
    # Each call finds the checkpoint of the call before: what was safe then must reach so far.
    assert saved_step == list(range(result.num_steps + 1))
    for step, count in zip(saved_step[1:], num_safe, strict=True):
        assert count == sum(progress.step <= step for progress in here.reports)


def test_a_stop_at_the_last_evaluation_is_a_finished_run(run: MakeRun) -> None:
    assert run()(stop=lambda progress: progress.epoch == 3).state == "finished"


def test_never_resumes_with_another_config_or_other_data(run: MakeRun, data: TrainingData) -> None:
    first = run()
    first(stop=lambda _: True)
    begun = first.config
    first.config = replace(begun, seed=4, optim=replace(begun.optim, learning_rate=0.5))
    expected = r"optim.learning_rate was 0.02, is 0.5; seed was 0, is 4; put it back, or train in"
    with pytest.raises(UserError, match=expected):
        first()
    first.config = begun
    first.data = replace(data, train=Dataset(data.train.utterances[1:], data.train.store, LETTERS))
    with pytest.raises(UserError, match=r"another config: data was '\w+', is '\w+'"):
        first()
