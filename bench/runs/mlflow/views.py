"""Saved views of a study in MLflow's UI, under "Views" on its page: filter, order and columns.

MLflow 3.17 keeps a view as a tag of the experiment, whose value is an envelope around the state of
the page; an older one shows all runs.
"""

import json
from collections.abc import Sequence

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow guesses, and may show the pages for language models."""

COLOR_TAG = "mlflow.runColor"
"""Without it MLflow derives a run's colour from its id, and colours may be alike."""

SUMMARY_COLUMNS = (
    "test/wer_mean",
    "test/wer_low",
    "test/wer_high",
    "test/wer_delta",
    "test/cer_mean",
    "cost/num_parameters",
    "cost/macs_per_second_of_audio",
    "cost/audio_seconds_per_second",
)
"""As many as a page shows without scrolling: MLflow sorts them by name, the WERs come last."""


def view_tags(made_at_ms: int) -> dict[str, str]:
    """The tags of an experiment that was made at `made_at_ms` (since 1970).

    The views are ``?viewStateShareKey=variants``, one row a variant, and ``…=confirm``, one row a
    seed.
    """
    views = {
        "variants": ("One row a variant", "summary", SUMMARY_COLUMNS, "test/wer_mean"),
        "confirm": (
            "One row a seed",
            "confirm",
            ("test/wer", "test/cer", "best/valid_wer"),
            "test/wer",
        ),
    }
    return {
        **EXPERIMENT_TAGS,
        **{
            f"mlflow.sharedViewState.{key}": _view(made_at_ms, *view) for key, view in views.items()
        },
    }


def _view(made_at_ms: int, name: str, kind: str, metrics: Sequence[str], order: str) -> str:
    state = {
        "searchFilter": f"tags.kind = '{kind}'",
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [f"metrics.`{metric}`" for metric in metrics],
    }
    dates = {"createdAt": made_at_ms, "updatedAt": made_at_ms}
    return json.dumps({"name": name, **dates, "state": json.dumps(state)})
