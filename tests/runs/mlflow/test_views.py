"""Saved views in the envelope that MLflow 3.17 reads."""

import json
from typing import Any

from bench.runs import StudyTracker
from bench.runs.mlflow.views import SUMMARY_COLUMNS, view_tags


def test_a_view_is_an_envelope_around_a_state() -> None:
    view = json.loads(view_tags(5)["mlflow.sharedViewState.variants"])
    assert (view["name"], view["createdAt"], view["updatedAt"]) == ("One row a variant", 5, 5)
    state = json.loads(view["state"])
    assert state["searchFilter"] == "tags.kind = 'summary'"
    assert state["selectedColumns"] == [f"metrics.`{column}`" for column in SUMMARY_COLUMNS]


def test_an_experiment_gets_its_views_and_an_old_one_too(lab: Any) -> None:
    lab.client.create_experiment("s")
    for study in ("s", "t"):
        StudyTracker.open(study)
        tags = lab.client.get_experiment_by_name(study).tags
        assert tags["mlflow.experimentKind"] == "custom_model_development"
        assert {"mlflow.sharedViewState.variants", "mlflow.sharedViewState.confirm"} <= set(tags)
