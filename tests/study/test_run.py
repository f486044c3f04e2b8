from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.study.run import RunPlan, attempts_so_far, is_recorded, perform
from bench.tracking import RunIdentity, TrackingTarget
from bench.tracking.record import read_json
from bench.training.config import default_run_config


def test_a_run_that_fails_before_training_is_recorded_and_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(config: CorpusConfig) -> None:
        raise UserError("the corpus is gone")

    monkeypatch.setattr("bench.study.run.load_corpus", unreadable)
    plan = RunPlan(
        identity=RunIdentity(
            study="s", variant="ds-gru", kind="confirm", slot=0, attempt=1, seed=1, params={}
        ),
        config=default_run_config("ds-gru", CorpusConfig()),
        folder=tmp_path / "confirm-0",
        excluded=frozenset(),
        device="cpu",
        data_digest="x",
        open_test=True,
        target=TrackingTarget(uri="http://127.0.0.1:9"),
    )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="gone"):
        perform(plan, lambda progress: False, killed=lambda: False, pruned=lambda: False)
    assert is_recorded(plan.folder)
    assert attempts_so_far(plan.folder) == 1
    summary = read_json(plan.folder / "summary.json")
    assert summary is not None
    assert summary["error"] == {"kind": "UserError", "message": "the corpus is gone"}
