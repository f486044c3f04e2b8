"""Records back into tables."""

from typing import Any

import pandas as pd

from bench.runs import read_study
from bench.runs.layout import METRICS
from bench.runs.reader import TABLES
from reports.columns import COLUMNS as SHOWN


def test_tables_have_the_columns_that_reports_ask_for() -> None:
    for name, columns in TABLES.items():
        assert set(SHOWN[name]) <= set(columns)


def test_a_folder_without_runs_gives_empty_tables(lab: Any) -> None:
    tables = read_study(lab.project / "nothing")
    for name, columns in TABLES.items():
        assert list(getattr(tables, name).columns) == list(columns)
        assert getattr(tables, name).empty
    assert tables.runs["test_wer"].mean() != 0.0


def test_runs_curves_utterances_and_watch(lab: Any) -> None:
    confirm = lab.record("confirm-0", kind="confirm", slot=0, seed=5000)
    for step in (10, 20):
        confirm.append(lab.progress(step))
    confirm.write_scores("test", lab.scores(2))
    metrics = {"best/valid/wer": 0.25, "best/epoch": 2, "test/wer": 0.5, "num_parameters": 9.0}
    confirm.close("finished", metrics)
    failed = lab.record("trial-000", slot=0)
    failed.close("failed", {}, {"kind": "ValueError", "message": "too wide"})
    running = lab.record("trial-001", slot=1)
    running.append(lab.progress(10))
    running.append(lab.progress(20))
    with (running.folder / METRICS).open("a") as handle:
        handle.write('{"key": "valid/w')

    tables = read_study(lab.study)
    runs = tables.runs.set_index("run")
    assert list(runs.index) == ["tiny/confirm-0", "tiny/trial-000", "tiny/trial-001"]
    assert list(runs["state"]) == ["finished", "failed", "running"]
    shown = runs.loc["tiny/confirm-0", ["valid_wer", "best_epoch", "test_wer", "num_parameters"]]
    assert list(shown) == [0.25, 2.0, 0.5, 9.0]
    assert runs.loc["tiny/confirm-0", "params"] == {"optim.learning_rate": 0.001}
    assert runs.loc["tiny/trial-000", "message"] == "too wide"
    assert pd.isna(runs.loc["tiny/trial-000", "valid_wer"])
    assert runs.loc["tiny/trial-001", "valid_wer"] == 1 / 21
    curves = tables.curves.query("run == 'tiny/confirm-0' and metric == 'train/loss'")
    assert curves[["step", "epoch", "value"]].to_numpy().tolist() == [[10, 1, 90], [20, 2, 80]]
    assert curves["seconds"].tolist() == [5.0, 10.0]
    assert curves["audio_hours"].isna().all(), "these runs did not log it"
    assert runs["ended_at"].astype(bool).tolist() == [True, True, False]
    assert list(tables.utterances["id"]) == ["u00", "u01"]
    assert list(tables.utterances["seed"]) == [5000, 5000]
    assert list(tables.utterances["deletions"]) == [1, 1]
    assert list(tables.watch["hyp"]) == ["a" * 10, "a" * 20] * 2


def test_each_point_knows_the_time_and_the_audio_of_its_step(lab: Any) -> None:
    record = lab.record()
    record.append(lab.progress(10, {"train/loss": 3.0, "train/audio_hours": 0.25}))
    record.append(lab.progress(20, {"valid/wer": 0.5, "train/audio_hours": 0.5}))
    curves = read_study(lab.study).curves.set_index(["metric", "step"])
    assert curves.loc[("train/loss", 10), ["seconds", "audio_hours"]].tolist() == [5.0, 0.25]
    assert curves.loc[("valid/wer", 20), ["seconds", "audio_hours"]].tolist() == [10.0, 0.5]
