"""The main command as a process of its own: from recordings to the report, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from bench.data.utterance import Corpus
from tests.tones import write_table

SMALL = ["--set", "model.width=16", "--set", "model.convs=[[16, 11, 3]]", "--budget", "smoke"]


@pytest.fixture
def corpus(tmp_path: Path, tone_corpus: Corpus) -> str:
    return write_table(tone_corpus, tmp_path / "tones.jsonl")


def sweep(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.sweep", *arguments, *SMALL],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job, such as this one may be, ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def tracked(folder: Path, study: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.slow
def test_two_systems_from_recordings_to_report_and_again(tmp_path: Path, corpus: str) -> None:
    arguments = ["--variant", "ds-gru", "--variant", "ds-rnn", "--corpus", corpus, "--json"]
    out, err = (process := sweep(tmp_path, *arguments)).communicate(timeout=600)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert set(result) >= {"study", "report", "tracking_uri", "systems"}
    for system in result["systems"]:
        assert (system["num_trials"], system["num_seeds"]) == (2, 2)
        low, high = system["test_wer_low"], system["test_wer_high"]
        # Unknown where networks of four epochs hear nothing at all: no seed or speaker varies.
        assert low is None or low <= system["test_wer_mean"] <= high
    report = tmp_path / result["report"]
    assert result["verdict"].split(":")[0] in report.read_text()
    runs = tracked(tmp_path, result["study"])
    kinds = sorted(run.data.tags["kind"] for run in runs)
    assert kinds == ["confirm"] * 4 + ["parent"] * 2 + ["summary"] * 2 + ["trial"] * 4
    assert {run.info.status for run in runs} == {"FINISHED"}

    # A finished study: nothing is trained, the report is rebuilt from the same records.
    before = report.read_bytes()
    report.unlink()
    again, err = (process := sweep(tmp_path, *arguments)).communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(again) == result
    assert len(tracked(tmp_path, result["study"])) == len(runs)
    assert report.read_bytes() == before

    # Under test conditions: still nothing is trained, and every confirm run is scored under each.
    noisy, err = (process := sweep(tmp_path, *arguments, "--conditions", "noise")).communicate(
        timeout=300
    )
    assert process.returncode == 0, err
    assert len(tracked(tmp_path, result["study"])) == len(runs)
    conditions = json.loads(noisy)["conditions"]
    assert len(conditions["rates"]) == 10 * 2
    assert len(list((tmp_path / "out" / result["study"]).glob("conditions/*/*/*.jsonl"))) == 9 * 4
    assert "white, 20 dB" in report.read_text()

    # A second queue, where each slot would wait once more.
    elsewhere = ["--storage", f"sqlite:///{tmp_path / 'q.db'}", "--workers", "1"]
    out, err = (process := sweep(tmp_path, *arguments, *elsewhere)).communicate(timeout=300)
    assert process.returncode == 2
    assert "has its queue in journal, got sqlite" in err

    # The data change under it: named, refused, nothing mixed.
    manifest = Path(corpus.removeprefix("manifest:"))
    manifest.write_text(manifest.read_text().replace("a bad bed", "a bad bad"))
    out, err = (process := sweep(tmp_path, *arguments)).communicate(timeout=300)
    assert process.returncode == 2
    assert "data_digest was" in err


@pytest.mark.slow
def test_two_sweeps_at_once_track_in_one_file(tmp_path: Path, corpus: str) -> None:
    """SQLite lets one write at a time; the file is not there yet when both begin."""
    sweeps = [
        sweep(tmp_path, "--variant", name, "--corpus", corpus, "--json", "--workers", "1")
        for name in ("ds-gru", "ds-rnn")
    ]
    for process in sweeps:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "tracking:" not in err, "something was not sent"
        runs = tracked(tmp_path, json.loads(out)["study"])
        kinds = sorted(run.data.tags["kind"] for run in runs)
        assert kinds == ["confirm"] * 2 + ["parent", "summary"] + ["trial"] * 2
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            if run.data.tags["kind"] in ("trial", "confirm"):
                assert run.data.metrics.get("valid/wer") is not None


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_a_trial_and_run_again(
    tmp_path: Path, corpus: str, sent: signal.Signals
) -> None:
    arguments = ["--variant", "ds-gru", "--corpus", corpus, "--json"]
    process = sweep(tmp_path, *arguments)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("out/*/runs/*/trial-*/watch.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, sent)
    process.communicate(timeout=120)
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)

    out, err = (process := sweep(tmp_path, *arguments)).communicate(timeout=600)
    assert process.returncode == 0, err
    result = json.loads(out)
    runs = tracked(tmp_path, result["study"])
    slots = sorted(
        (r.data.tags["kind"], r.data.tags["slot"]) for r in runs if "slot" in r.data.tags
    )
    assert slots == [("confirm", "0"), ("confirm", "1"), ("trial", "0"), ("trial", "1")]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert result["systems"][0]["num_trials"] == 2
    for path in tmp_path.glob("out/*/runs/*/*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(row["key"], row["step"]) for row in rows]
        assert len(points) == len(set(points)), "each step is logged once"
