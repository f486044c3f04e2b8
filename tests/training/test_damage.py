"""Checkpoints that the disk has damaged: what is noticed, and what a run goes on from."""

import itertools
import json
import logging
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UnwritableError, UserError
from bench.data.units import LETTERS
from bench.runs import RunIdentity, RunRecord
from bench.training import checkpoint
from bench.training.checkpoint import DamagedCheckpointError
from bench.training.config import RunConfig, build_model

CPU = torch.device("cpu")
MakeRun = Callable[..., Any]
Damage = Callable[[Path], Any]
EACH_STEP = {"training.checkpoint_every_seconds": 0.0}


def flip(path: Path, at: float = 0.5) -> None:
    """Turn one bit of the file over, at so much of its length."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def checkpoints(run: Any) -> tuple[Path, Path, Path]:
    folder = run.directory / "checkpoints"
    return folder / "last.pt", folder / "last.1.pt", folder / "best.pt"


@pytest.fixture(scope="session")
def whole(tiny: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "best.pt"
    checkpoint.save(path, tiny(), build_model(tiny()), None, LETTERS)
    return path


def test_a_flipped_bit_that_torch_overlooks_is_noticed(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(whole.read_bytes())
    flip(path)
    assert isinstance(torch.load(path, weights_only=True), dict)
    with pytest.raises(DamagedCheckpointError, match=r"best\.pt is damaged, no checkpoint"):
        checkpoint.load(path, CPU)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(at=st.floats(0, 1), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed_or_changes_nothing(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, at: float, bit: int
) -> None:
    content = bytearray(whole.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.pt"
    path.write_bytes(content)
    try:
        read = checkpoint.load(path, CPU)
    except DamagedCheckpointError:
        return
    expected = checkpoint.load(whole, CPU)
    for name, value in expected.pop("model").items():
        assert torch.equal(read["model"][name], value)
    assert expected == {key: read[key] for key in expected}


def test_a_packed_part_is_refused(whole: Path, tmp_path: Path) -> None:
    """A few bytes could unpack to more than the memory holds."""
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, old.read(part))
    with pytest.raises(DamagedCheckpointError):
        checkpoint.load(path, CPU)


@pytest.mark.parametrize("damage", [flip, tear, empty, Path.unlink])
def test_a_run_resumes_from_the_previous_checkpoint(
    run: MakeRun, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, damaged = run(**EACH_STEP), run(**EACH_STEP)
    undisturbed()
    for num_steps in (5, 4):  # the second time behind an evaluation, with a best.pt
        damaged.dying_after(num_steps)
        last, older, _ = checkpoints(damaged)
        damage(last)
        step = checkpoint.load(older, CPU)["loop"]["step"]
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            damaged.dying_after(1)
        expected = f"damaged: {last}; going on from {older}, step {step}"
        assert caplog.messages == ([] if damage is Path.unlink else [expected])
    damaged()
    assert damaged.left() == undisturbed.left()
    assert damaged.left("best.pt") == undisturbed.left("best.pt")
    assert damaged.curves == undisturbed.curves


def test_steps_logged_before_are_not_logged_twice(run: MakeRun, tmp_path: Path) -> None:
    damaged, folder = run(**EACH_STEP, **{"training.log_every_steps": 1}), tmp_path / "record"
    identity = RunIdentity(
        study="s", system="v", kind="train", slot=0, attempt=1, seed=0, params={}
    )
    damaged.dying_after(6)
    flip(checkpoints(damaged)[0])
    logged = len(damaged.reports)
    damaged()
    steps = [progress.step for progress in damaged.reports]
    assert steps[logged] == steps[logged - 1], "the step that was lost is trained again"
    for part in (damaged.reports[:logged], damaged.reports[logged:]):
        record = RunRecord.open(folder, identity, {}, {})
        for progress in part:
            record.append(progress)
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [point["step"] for point in points if point["key"] == "train/loss"]
    assert losses == sorted(set(steps))


def test_a_full_disk_stops_the_run_and_it_resumes_once_there_is_room(
    run: MakeRun, little_room: Callable[[int], AbstractContextManager[None]]
) -> None:
    undisturbed, full = run(**EACH_STEP), run(**EACH_STEP)
    undisturbed()
    full(stop=lambda progress: progress.step == 6)
    before = {path: path.read_bytes() for path in checkpoints(full)}
    with little_room(10_000), pytest.raises(UnwritableError, match=r"last\.pt cannot be written"):
        full()
    assert {path: path.read_bytes() for path in checkpoints(full)} == before
    assert sorted(checkpoints(full)[0].parent.iterdir()) == sorted(before), "no half file"
    full()
    assert full.left() == undisturbed.left()


def test_wall_clocks_that_jump_change_no_duration(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, hours = time.perf_counter(), itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600 * (-1) ** next(hours) * next(hours))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    result = run()()
    took = time.perf_counter() - begun
    assert all(0 <= seconds <= took for seconds in result.seconds.values())
    assert 0 < result.train_seconds <= took


@pytest.mark.parametrize("lost", [(0, 1), (2,)])
def test_without_a_whole_one_the_run_begins_anew_to_the_same_numbers(
    run: MakeRun, lost: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither last checkpoint is whole, or neither can make the weights in best.pt again."""
    undisturbed, damaged = run(**EACH_STEP), run(**EACH_STEP)
    undisturbed()
    damaged.dying_after(10)
    files = checkpoints(damaged)
    for place in lost:
        flip(files[place])
    with caplog.at_level(logging.WARNING):
        damaged()
    shown = " and ".join(str(files[place]) for place in lost)
    assert [m.split(";")[0] for m in caplog.messages] == [f"damaged: {shown}"]
    assert "the run begins anew, which costs time and changes no number" in caplog.text
    assert damaged.left() == undisturbed.left()
    assert damaged.left("best.pt") == undisturbed.left("best.pt")


def test_a_finished_run_whose_best_weights_are_lost_is_trained_again(run: MakeRun) -> None:
    undisturbed, finished = run(), run()
    undisturbed()
    best = finished().best
    _, older, weights = checkpoints(finished)
    weights.unlink()
    finished.dying_after(0)
    assert not older.exists(), "it counts on weights that are gone"
    assert finished().best == best
    assert finished.left("best.pt") == undisturbed.left("best.pt")


def test_a_file_that_cannot_be_reached_is_not_thrown_away(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = run()
    begun(stop=lambda _: True)
    last = checkpoints(begun)[0]

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "check_sums", refuse)
    with pytest.raises(UserError, match=r"last\.pt cannot be read \(Permission denied\)"):
        begun()
    assert last.exists()
