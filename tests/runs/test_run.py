import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from bench.core.config import flatten, resolve, updated
from bench.core.errors import OutOfHostMemoryError, UnwritableError, UserError
from bench.data.corpora import CorpusConfig
from bench.data.units import UnitsConfig, units_of
from bench.data.utterance import Corpus
from bench.runs import RunIdentity, TrackingTarget
from bench.runs.layout import BEST, CONFIG, ORIGINS, UNITS, read_json
from bench.runs.run import RunPlan, attempts_so_far, datasets, execute_run, give_up
from bench.runs.state import State, has_ended
from bench.training.checkpoint import load_model, write
from bench.training.config import default_run_config
from bench.training.loop import train
from bench.training.progress import Progress, TrainResult
from bench.workers.worker import MAX_ATTEMPTS
from variants.ops import kernel


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return RunPlan(
        identity=RunIdentity(
            study="s",
            system="ds-gru",
            kind="confirm",
            slot=0,
            attempt=1,
            seed=1,
            params={},
            data_digest="x",
        ),
        resolved=resolve(default_run_config("ds-gru", CorpusConfig()), []),
        folder=tmp_path / "confirm-0",
        excluded=frozenset(),
        device="cpu",
        target=TrackingTarget(uri="http://127.0.0.1:9"),
    )


def begin(plan: RunPlan) -> None:
    execute_run(plan, lambda progress: None)


def failing(error: Exception) -> Callable[[CorpusConfig], None]:
    def load(_: CorpusConfig) -> None:
        raise error

    return load


def test_what_set_each_value_is_recorded(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runs.run.load_corpus", failing(ValueError("enough")))
    with pytest.raises(ValueError, match="enough"):
        begin(plan)
    origins = read_json(plan.folder / ORIGINS)
    assert origins.keys() == flatten(read_json(plan.folder / CONFIG)).keys()
    assert origins["seed"] == {"layer": "default", "source": "bench/training/config.py"}


def test_a_run_that_meets_a_full_disk_is_to_go_on(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = UnwritableError(plan.folder / "last.pt", OSError(28, "No space left on device"))
    monkeypatch.setattr("bench.runs.run.load_corpus", failing(full))
    with pytest.raises(UnwritableError, match=r"last\.pt cannot be written \(No space left"):
        begin(plan)
    assert not has_ended(plan.folder)
    assert attempts_so_far(plan.folder) == 0, "as if it had not been tried"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …")]
)  # fmt: skip
def test_a_run_that_lacks_memory_is_to_go_on(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("bench.runs.run.load_corpus", failing(error))
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(OutOfHostMemoryError, match="memory ran out"):
            begin(plan)
    assert not has_ended(plan.folder)
    assert attempts_so_far(plan.folder) == 0, "as if it had not been tried"


def test_an_error_is_recorded_without_its_password(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runs.run.load_corpus", failing(ValueError("a://b:hunter2@c")))
    with pytest.raises(ValueError, match="hunter2"):
        begin(plan)
    assert "hunter2" not in (plan.folder / "summary.json").read_text()


def test_a_run_that_fails_before_training_is_recorded_and_not_begun_again(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = UserError("the corpus is gone")
    monkeypatch.setattr("bench.runs.run.load_corpus", failing(gone))
    with pytest.raises(UserError, match="gone"):
        begin(plan)
    assert has_ended(plan.folder)
    assert attempts_so_far(plan.folder) == 1
    summary = read_json(plan.folder / "summary.json")
    assert summary is not None
    assert summary["error"] == {"kind": "UserError", "message": "the corpus is gone"}


def test_only_train_is_thinned_and_before_anything_is_left_out(tone_corpus: Corpus) -> None:
    config = default_run_config("ds-gru", CorpusConfig())
    half = updated(config, {"batches.train_share": 0.5})
    whole, thin = (datasets(tone_corpus, c, ()) for c in (config, half))
    sizes = {split: (len(whole[split]), len(thin[split])) for split in whole}
    assert sizes == {"train": (10, 5), "valid": (4, 4), "test": (4, 4), "watch": (1, 1)}
    gone = thin["train"].utterances[0].id
    left = datasets(tone_corpus, half, (gone,))["train"].utterances
    assert left == thin["train"].utterances[1:], "what is left out is not made up for"


@pytest.mark.parametrize(("outcome", "scored"), [("diverged", True), ("pruned", False)])
def test_a_run_that_diverged_is_scored_with_what_it_could_do_before(
    plan: RunPlan,
    tone_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
    scored: bool,
) -> None:
    small = {"model.width": 8, "model.num_layers": 1, "training.num_epochs": 1}
    plan = trained_on(plan, tone_corpus, small, monkeypatch)

    def diverging(*args: Any, **kwargs: Any) -> TrainResult:
        return replace(train(*args, **kwargs), state=outcome)

    monkeypatch.setattr("bench.runs.run.train", diverging)
    begin(plan)
    summary = read_json(plan.folder / "summary.json")
    assert summary is not None
    assert summary["state"] == outcome
    assert ("test/wer" in summary["metrics"]) == scored
    assert (plan.folder / "utterances-test.jsonl").exists() == scored
    assert read_json(plan.folder / "paths.json") == dict.fromkeys(
        ("ctc", "recurrence"), kernel.description()
    )


def test_a_run_of_pieces_is_scored_in_those_of_its_checkpoint(
    plan: RunPlan, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sentencepiece")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    settings = {
        "model.width": 8, "model.num_layers": 1, "training.num_epochs": 1, "units.num_pieces": 32,
    }  # fmt: skip
    plan = trained_on(plan, tone_corpus, settings, monkeypatch)
    learnt = Mock(side_effect=units_of)
    monkeypatch.setattr("bench.runs.run.units_of", learnt)
    begin(plan)
    assert learnt.call_count == 1, "for training alone"
    trained = load_model(plan.folder / BEST, torch.device("cpu"))
    recorded = read_json(plan.folder / UNITS)
    assert recorded == {"digest": trained.units.digest, "symbols": list(trained.units.symbols)}
    assert trained.units == units_of(
        UnitsConfig(num_pieces=32), [u.text for u in tone_corpus.split("train")]
    )
    summary = read_json(plan.folder / "summary.json")
    assert summary is not None
    assert summary["metrics"]["test/wer"] >= 0
    # A later command needs neither the library nor the cache.
    shutil.rmtree(tmp_path / "cache" / "units")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    sets = datasets(tone_corpus, trained.config, (), units=trained.units)
    assert sets["test"].units is trained.units
    with pytest.raises(UserError, match="needs sentencepiece"):
        datasets(tone_corpus, trained.config, ())


def small(plan: RunPlan, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    """A run of two epochs on `corpus`."""
    settings = {"model.width": 8, "model.num_layers": 1, "training.num_epochs": 2}
    return trained_on(plan, corpus, settings, monkeypatch)


def trained_on(
    plan: RunPlan, corpus: Corpus, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> RunPlan:
    config = updated(plan.resolved.config, settings)
    monkeypatch.setattr("bench.runs.run.load_corpus", lambda config: corpus)
    identity = replace(plan.identity, data_digest=corpus.digest)
    return replace(plan, resolved=resolve(config, []), identity=identity)


def failing_at(epoch: float) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.epoch >= epoch:
            raise ValueError("enough")

    return report


@pytest.mark.parametrize("left", ["best.pt", "last.pt", "nothing", "nan"])
def test_a_confirm_run_that_failed_counts_with_its_last_finite_checkpoint(
    plan: RunPlan, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    plan = small(plan, tone_corpus, monkeypatch)
    checkpoints = plan.folder / "checkpoints"

    def report(progress: Progress) -> None:
        if progress.epoch >= 2:
            if left != "best.pt":
                (checkpoints / "best.pt").unlink()
            for path in checkpoints.glob("last*.pt") if left in ("nothing", "nan") else ():
                content = torch.load(path, weights_only=True)
                name = next(iter(content["model"]))
                if left == "nothing":
                    content["loop"]["step"] = 0
                else:
                    content["model"][name] = torch.full_like(content["model"][name], torch.nan)
                write(path, content)
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        execute_run(plan, report)
    summary = read_json(plan.folder / "summary.json")
    assert summary is not None
    assert (summary["state"], summary["error"]["message"]) == ("failed", "enough")
    is_scored = left in ("best.pt", "last.pt")
    assert ("test/wer" in summary["metrics"]) == is_scored
    assert (plan.folder / "utterances-test.jsonl").exists() == is_scored


def test_a_trial_that_failed_opens_no_test_split(
    plan: RunPlan, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(plan, tone_corpus, monkeypatch)
    plan = replace(plan, identity=replace(plan.identity, kind="trial"))
    with pytest.raises(ValueError, match="enough"):
        execute_run(plan, failing_at(1))
    assert not (plan.folder / "utterances-test.jsonl").exists()
    assert not (plan.folder / "test-opened.txt").exists()


def test_a_run_that_is_given_up_is_scored_unless_that_killed_a_worker(
    plan: RunPlan, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(plan, tone_corpus, monkeypatch)
    with pytest.raises(ValueError, match="enough"):
        execute_run(plan, failing_at(2))
    for may_score in (True, False):
        other = replace(plan, folder=plan.folder.with_name(f"given-up-{may_score}"))
        shutil.copytree(plan.folder / "checkpoints", other.folder / "checkpoints")
        assert give_up(other, "it died", may_score=may_score).state == State.FAILED
        assert (other.folder / "utterances-test.jsonl").exists() == may_score
