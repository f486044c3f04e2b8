"""How far a study has come, by its records, whatever state they are in."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.core.config import to_dict
from bench.core.files import write_json
from bench.results.progress import ProgressReader, RunProgress, estimate_seconds_left
from bench.runs import RunRecord
from bench.study.definition import FILE
from bench.study.space import load_budget
from bench.training.progress import Progress
from tests.studies import record_of, study_of

SYSTEMS = ("ds-gru", "ds-lstm")
Train = Callable[..., RunRecord]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two systems of two trials (4 epochs) and two fresh seeds (8 epochs); nothing has begun."""
    budget = replace(
        load_budget("smoke"), num_trials=2, num_seeds=2, search_epochs=4, confirm_epochs=8
    )
    definition = study_of(SYSTEMS, budget, seed=1, name="s")
    write_json(tmp_path / FILE, to_dict(definition))
    return tmp_path


@pytest.fixture
def train(study: Path) -> Train:
    """Record `epochs` of 10 s each in ``runs/<system>/<name>``, WERs 1/1, 1/2, 1/3, …"""

    def record(system: str, name: str, epochs: int, state: str | None) -> RunRecord:
        made = record_of(study / "runs" / system / name, system=system)
        for epoch in range(1, epochs + 1):
            metrics = {"train/loss": 3.0 / epoch, "valid/wer": 1 / epoch}
            made.append(
                Progress(
                    step=10 * epoch, epoch=epoch, num_epochs=4, seconds=10.0 * epoch,
                    metrics=metrics, evaluated=True,
                )
            )  # fmt: skip
        if state is not None:
            made.close(state, {"best/valid/wer": 1 / epochs})
        return made

    return record


def one(runs: tuple[RunProgress, ...], system: str, kind: str, slot: int) -> RunProgress:
    (found,) = (r for r in runs if (r.system, r.kind, r.slot) == (system, kind, slot))
    return found


def test_a_study_that_has_not_begun(study: Path) -> None:
    progress = ProgressReader(study).read()
    assert (progress.num_ended, progress.num_planned, progress.is_over) == (0, 8, False)
    assert {run.state for run in progress.runs} == {"waiting"}
    assert progress.seconds_left is None
    assert not (study / "runs").exists(), "watching leaves no trace"


def test_a_study_in_progress(study: Path, train: Train) -> None:
    train("ds-gru", "trial-000", 4, "finished")
    train("ds-gru", "trial-001", 2, "pruned")
    train("ds-gru", "confirm-0", 3, None)
    train("ds-lstm", "trial-000", 1, "killed")
    before = {p: p.stat().st_mtime_ns for p in study.rglob("*")}
    progress = ProgressReader(study).read(datetime.now(UTC) + timedelta(seconds=60))
    assert (progress.num_ended, progress.num_planned) == (2, 8)
    (running,) = progress.running
    assert (running.system, running.kind, running.slot) == ("ds-gru", "confirm", 0)
    assert (running.epoch, running.num_epochs, running.seconds) == (3.0, 8, 30.0)
    assert (running.loss, running.valid_wers) == (1.0, (1.0, 1 / 2, 1 / 3))
    assert running.silent_seconds == pytest.approx(60, abs=5)
    assert progress.best("ds-gru", "trial") == 0.25, "a pruned trial wins nothing"
    assert progress.best("ds-gru", "confirm") is None
    killed = one(progress.runs, "ds-lstm", "trial", 0)
    assert not killed.has_ended, "it will be gone on with"
    assert killed.silent_seconds is None
    assert before == {p: p.stat().st_mtime_ns for p in study.rglob("*")}
    assert json.dumps(progress.as_json(), allow_nan=False)


def test_a_torn_line_is_left_out(study: Path, train: Train) -> None:
    path = train("ds-gru", "trial-000", 2, None).folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"key": "valid/wer", "val')
    assert one(ProgressReader(study).read().runs, "ds-gru", "trial", 0).valid_wers == (1.0, 0.5)


def test_a_system_without_a_finished_trial_confirms_nothing(study: Path, train: Train) -> None:
    for slot in (0, 1):
        train("ds-gru", f"trial-{slot:03d}", 1, "failed")
        train("ds-lstm", f"trial-{slot:03d}", 4, "finished")
        train("ds-lstm", f"confirm-{slot}", 8, "finished")
    progress = ProgressReader(study).read()
    assert (progress.num_ended, progress.num_planned, progress.is_over) == (6, 6, True)
    assert progress.seconds_left == 0.0


def test_a_system_whose_best_trial_was_pruned_confirms_that(study: Path, train: Train) -> None:
    train("ds-gru", "trial-000", 4, "diverged")
    train("ds-gru", "trial-001", 2, "pruned")
    for slot in (0, 1):
        train("ds-lstm", f"trial-{slot:03d}", 4, "finished")
        train("ds-lstm", f"confirm-{slot}", 8, "finished")
    progress = ProgressReader(study).read()
    assert (progress.num_ended, progress.num_planned, progress.is_over) == (6, 8, False)


def test_an_ended_run_is_read_once_and_a_running_one_again(study: Path, train: Train) -> None:
    ended = train("ds-gru", "trial-000", 4, "finished")
    reader = ProgressReader(study)
    reader.read()
    (ended.folder / "metrics.jsonl").unlink()
    train("ds-gru", "trial-001", 1, None)
    progress = reader.read()
    assert len(one(progress.runs, "ds-gru", "trial", 0).valid_wers) == 4
    train("ds-gru", "trial-001", 3, None)
    assert len(one(reader.read().runs, "ds-gru", "trial", 1).valid_wers) == 3


def run(kind: str, slot: int, state: str, epoch: float, seconds: float, of: int = 4) -> RunProgress:
    return RunProgress(
        system="v", kind=kind, slot=slot, state=state, num_epochs=of, epoch=epoch, seconds=seconds
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # Two waiting trials, each as long as the mean of the ended ones, one after the other.
        ([run("trial", 0, "finished", 4, 40), run("trial", 1, "pruned", 2, 20), run("trial", 2, "waiting", 0, 0), run("trial", 3, "waiting", 0, 0)], 60.0),
        # A running one at its own pace, not at that of the others.
        ([run("trial", 0, "running", 1, 15), run("trial", 1, "finished", 4, 40)], 45.0),
        # Two at once, and one that waits: its turn comes when half of the work is done.
        ([run("trial", 0, "running", 2, 20), run("trial", 1, "running", 2, 20), run("trial", 2, "finished", 4, 40), run("trial", 3, "waiting", 0, 0)], 40.0),
        # No confirm run was seen: twice the epochs of a trial, at its pace.
        ([run("trial", 0, "finished", 4, 40), run("confirm", 0, "waiting", 0, 0, of=8)], 80.0),
        ([run("trial", 0, "waiting", 0, 0)], None),
        ([run("trial", 0, "finished", 4, 40)], 0.0),
    ],
)  # fmt: skip
def test_the_time_left_is_estimated(runs: list[RunProgress], expected: float | None) -> None:
    assert estimate_seconds_left(tuple(runs)) == expected
