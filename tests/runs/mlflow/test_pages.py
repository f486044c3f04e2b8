"""Names of metrics, and saved views in the envelope that MLflow 3.17 reads."""

import json
from typing import Any

import pytest

from bench.runs import StudyTracker
from bench.runs.mlflow.pages import SUMMARY_COLUMNS, metric_name, view_tags


def test_a_view_is_an_envelope_around_a_state() -> None:
    view = json.loads(view_tags(5)["mlflow.sharedViewState.systems"])
    assert (view["name"], view["createdAt"], view["updatedAt"]) == ("One row a system", 5, 5)
    state = json.loads(view["state"])
    assert state["searchFilter"] == "tags.kind = 'summary'"
    assert state["selectedColumns"] == [f"metrics.`{column}`" for column in SUMMARY_COLUMNS]


def test_an_experiment_gets_its_views_and_an_old_one_too(lab: Any) -> None:
    lab.client.create_experiment("s")
    for study in ("s", "t"):
        StudyTracker.open(study)
        tags = lab.client.get_experiment_by_name(study).tags
        assert tags["mlflow.experimentKind"] == "custom_model_development"
        assert {"mlflow.sharedViewState.systems", "mlflow.sharedViewState.confirm"} <= set(tags)


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("train/loss", "train/loss"),
        ("valid/wer", "valid/wer"),
        ("best/valid/wer", "best/valid_wer"),
        ("best/epoch", "best/epoch"),
        ("epoch", "train/epoch"),
        ("num_parameters", "cost/num_parameters"),
        ("wer_mean", "test/wer_mean"),
        ("cer_mean", "test/cer_mean"),
        ("num_steps", "run/num_steps"),
    ],
)
def test_every_metric_has_one_group(recorded: str, shown: str) -> None:
    assert metric_name(recorded) == shown
    assert shown.count("/") == 1
