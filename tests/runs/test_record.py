"""The run folder: each point once, through kills and resumes."""

import json
import os
from pathlib import Path
from typing import Any, TypedDict

import pytest

from bench.core.errors import UserError
from bench.runs.layout import (
    METRICS,
    RUN,
    SCHEMA_VERSION,
    SUMMARY,
    WATCH,
    MetricPoint,
    WatchLine,
    read_lines,
    read_run,
)
from bench.runs.record import NONFINITE


class Keyed(TypedDict):
    key: str


def points(lab: Any, key: str) -> list[tuple[int, float]]:
    lines = read_lines(lab.folder() / METRICS, MetricPoint)
    return [(line["step"], line["value"]) for line in lines if line["key"] == key]


def test_a_resumed_run_logs_no_step_twice(lab: Any) -> None:
    record = lab.record()
    for step in (1, 2, 3):
        record.append(lab.progress(step))
    resumed = lab.record(attempt=2)
    for step in (2, 3, 4):
        resumed.append(lab.progress(step))
    assert points(lab, "train/loss") == [(1, 99.0), (2, 98.0), (3, 97.0), (4, 96.0)]
    assert points(lab, "train/seconds") == [(1, 0.5), (2, 1.0), (3, 1.5), (4, 2.0)]
    assert [line["step"] for line in read_lines(lab.folder() / WATCH, WatchLine)] == [1, 2, 3, 4]


def test_a_synced_record_is_on_disk(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record, synced = lab.record(), []
    record.sync()  # nothing is logged yet
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    record.append(lab.progress(1))
    assert not synced, "a report does not wait for the disk"
    record.sync()
    assert synced == [METRICS, WATCH]


def test_a_metric_that_a_kill_cut_off_is_logged_by_the_resumed_run(lab: Any) -> None:
    lab.record().append(lab.progress(1))
    path = lab.folder() / METRICS
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["key"] for line in lines] == [
        "train/loss", "valid/wer", "train/seconds"
    ]  # fmt: skip
    path.write_text(lines[0] + lines[1][:20])
    assert len(list(read_lines(path, MetricPoint))) == 1
    lab.record().append(lab.progress(1))
    assert points(lab, "train/loss") == [(1, 99.0)]
    assert points(lab, "valid/wer") == [(1, 0.5)]


def test_values_that_are_not_finite_are_counted_and_left_out(lab: Any) -> None:
    bad = {"train/loss": float("nan"), "valid/wer": float("inf"), "train/grad_norm": 1.0}
    lab.record().append(lab.progress(1, bad))
    resumed = lab.record()
    resumed.append(lab.progress(1, bad))
    resumed.append(lab.progress(2))
    resumed.append(lab.progress(3, bad))
    assert points(lab, "train/loss") == [(2, 98.0)]
    assert points(lab, NONFINITE) == [(1, 2.0), (3, 4.0)]
    resumed.close("diverged", {"best/valid/wer": float("nan"), "num_epochs": 3})
    assert json.loads((lab.folder() / SUMMARY).read_text())["metrics"] == {"num_epochs": 3.0}


def test_a_resumed_run_keeps_its_identity_and_loses_its_old_end(lab: Any) -> None:
    first = lab.record()
    begun = read_run(first.folder)
    first.close("killed", {})
    lab.record(attempt=2)
    resumed = read_run(first.folder)
    assert begun["name"] == "tiny trial 3"
    assert (resumed["uid"], resumed["started_at"]) == (begun["uid"], begun["started_at"])
    assert (begun["attempt"], resumed["attempt"]) == (1, 2)
    assert not (first.folder / SUMMARY).exists()


def test_names_say_what_a_run_is(lab: Any) -> None:
    long_seed = 2**31 - 1
    assert lab.identity(kind="confirm", slot=2, seed=long_seed).name == "tiny confirm 2"
    assert lab.identity(kind="train", slot=0, seed=7).name == "tiny seed 7"


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_records_of_another_version_are_refused(lab: Any, version: int) -> None:
    folder = lab.record().folder
    run = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps({**run, "schema_version": version}))
    with pytest.raises(
        UserError, match=rf"of version {SCHEMA_VERSION} .*run\.json has version {version}; use the"
    ):
        lab.record()


def test_a_whole_line_that_is_not_json_is_named(lab: Any) -> None:
    path = lab.record().folder / METRICS
    path.write_text('{"key": "a"}\n{"key\n')
    with pytest.raises(UserError, match=r"metrics.jsonl .* line 2 is not .* delete that line"):
        list(read_lines(path, Keyed))
