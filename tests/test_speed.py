"""The command that measures: its rows, its tables, its errors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest

from bench import speed
from bench.costs import measure
from bench.costs.concurrency import ConcurrentTraining, TrainingJob
from bench.data.utterance import Corpus
from reports.measurements import SpeedRow
from tests.tones import write_table
from variants import VARIANTS

TINY = [
    "--set", "model.convs=[[16, 5, 2]]", "--set", "model.num_layers=1",
    "--set", "batches.batch_seconds=4",
    "--seconds", "0.01", "--rounds", "2", "--minutes", "1", "--width", "16",
]  # fmt: skip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Run:
    """Run the command in a folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.costs.timings.PEAK_SIZES", {"cpu": (64,)})
    return partial(run, "speed")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingJob, int]]:
    """The jobs given to workers, with their number; none is started."""
    given: list[tuple[TrainingJob, int]] = []

    def train_concurrently(
        job: TrainingJob, count: int, variables: Mapping[str, str] | None = None
    ) -> ConcurrentTraining:
        given.append((job, count))
        return ConcurrentTraining(audio_seconds_per_second=30.0 * count, peak_memory_bytes=10**9)

    monkeypatch.setattr(measure, "train_concurrently", train_concurrently)
    monkeypatch.setattr(measure, "num_cores", lambda: 2)
    return given


@pytest.fixture
def corpus(tmp_path: Path, tone_corpus: Corpus) -> str:
    return write_table(tone_corpus, tmp_path / "tones.jsonl")


def test_a_row_holds_every_field_of_the_schema(
    run: Run, corpus: str, jobs: list[tuple[TrainingJob, int]], tmp_path: Path
) -> None:
    code, out, err = run("--variant", "ds-bigru", "--corpus", corpus, *TINY, "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert list(row) == [field.name for field in fields(SpeedRow)]
    assert (row["variant"], row["width"], row["device"]) == ("ds-bigru", 16, "cpu")
    assert {name for name, value in row.items() if value is None} == {"joules_per_audio_hour"}
    for baseline in (row["family"], row["torch_baseline"]):
        assert baseline["ratio_low"] <= baseline["ratio"] <= baseline["ratio_high"]
        assert baseline["audio_seconds_per_second"] > 0
    assert set(row["shares"]) == {
        "data", "augment", "forward", "loss", "backward", "optimizer", "device",
        "evaluation", "logging", "checkpoint",
    }  # fmt: skip
    assert sum(row["shares"].values()) == pytest.approx(1.0)
    assert row["overhead_share"] == pytest.approx(
        sum(row["shares"][phase] for phase in ("evaluation", "logging", "checkpoint"))
    )
    rate = row["audio_seconds_per_second"]
    assert row["fraction_of_matmul_peak"] == pytest.approx(
        2 * row["training_macs_per_second_of_audio"] * rate / row["matmul_flops_per_second"]
    )
    assert 2 < row["training_macs_per_second_of_audio"] / row["macs_per_second_of_audio"] < 3
    assert [(job.num_threads, count) for job, count in jobs] == [(1, 2), (2, 1)]
    assert row["workers_ratio"] == 2.0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["speed.json"]


def test_a_network_without_torch_s_cells_is_measured_without_baselines(
    run: Run, corpus: str, jobs: list[tuple[TrainingJob, int]]
) -> None:
    small = ["--set", "model.channels=16", "--set", "model.num_layers=1", "--width", "16"]
    effort = ["--seconds", "0.01", "--rounds", "1", "--minutes", "1"]
    code, out, err = run("--variant", "deepspeech2", "--corpus", corpus, *small, *effort)
    assert code == 0, err
    speeds, shares = out.split("share of a run's time, %")
    assert "deepspeech2" in speeds
    assert "–" in speeds
    assert "overhead" in shares


def test_utterances_can_be_concatenated(
    run: Run, corpus: str, jobs: list[tuple[TrainingJob, int]], tmp_path: Path
) -> None:
    arguments = ["--variant", "ds-gru", "--corpus", corpus, *TINY, "--utterance-seconds", "1.5"]
    code, _, err = run(*arguments)
    assert code == 0, err
    assert all(u.seconds >= 1.5 for u in jobs[0][0].corpus.split("train"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["speed.json"]


def test_without_a_variant_one_of_each_cell_and_direction_is_taken() -> None:
    configs = [VARIANTS[name].config for name in speed.default_variants()]
    kinds = [(config.cell, config.directions) for config in configs]
    assert len(set(kinds)) == len(kinds) == 6
    assert {cell for cell, _ in kinds} == {"rnn", "gru", "lstm"}


def test_each_variant_is_measured_at_each_width() -> None:
    options = speed.build_parser().parse_args(
        ["--variant", "ds-gru", "--variant", "ds-lstm", "--width", "8", "--width", "16", "--seed", "3"]
    )  # fmt: skip
    configs = speed._configs(options, speed.CorpusConfig())
    assert [(c.variant, c.model.width, c.seed) for c in configs] == [
        ("ds-gru", 8, 3), ("ds-gru", 16, 3), ("ds-lstm", 8, 3), ("ds-lstm", 16, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--variant", "ds-gu"], "unknown variant 'ds-gu'; did you mean ds-gru"),
        (["--width", "0"], "width must be at least 1, got 0"),
        (["--set", "model.widht=8"], "did you mean width"),
        (["--minutes", "0"], "--minutes must be above 0, got 0"),
        (["--seconds", "-1"], "--seconds must be above 0, got -1"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
        (["--utterance-seconds", "0"], "--utterance-seconds must be above 0, got 0"),
        (["--utterance-seconds", "31"], "at most 30, got 31"),
        (["--corpus", "spokn"], "unknown corpus 'spokn'; did you mean spoken"),
    ],
)
def test_bad_arguments(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1, "one line"
    assert out == ""


def test_a_run_that_ends_before_the_last_round_is_an_error(run: Run, corpus: str) -> None:
    code, out, err = run(
        "--variant", "ds-gru", "--corpus", corpus, *TINY, "--set", "training.num_epochs=1"
    )
    assert code == 2
    assert "ds-gru finished after 1 epochs; raise training.num_epochs" in err
    assert out == ""


def test_latency_needs_a_study_with_checkpoints(run: Run, tmp_path: Path) -> None:
    code, out, err = run("--latency")
    assert (code, out) == (2, "")
    assert "there is no study in out/ to measure the latency of" in err
    code, out, err = run("--latency", "--study", "nowhere")
    assert (code, out) == (2, "")
    assert "no study 'nowhere'" in err
