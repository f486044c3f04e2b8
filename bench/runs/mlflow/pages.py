"""What MLflow's pages read: the names of metrics, the saved views of a study, tags and colours.

A page groups charts by what stands before a metric's last slash. There are six groups: ``train/``
and ``valid/`` are curves; ``best/``, ``test/``, ``cost/`` and ``run/`` (with ``final/``) are one
value a run. Records keep their own names.

A view (filter, order and columns, under "Views" on a study's page) is in MLflow 3.17 a tag of the
experiment, whose value is JSON around the state of the page, itself JSON; an older one shows all
runs. Does not import mlflow.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

# Of a run: the run above it in the tree, and which artifacts are tables.
PARENT_TAG, TABLES_TAG = "mlflow.parentRunId", "mlflow.loggedArtifacts"

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow guesses, and may show the pages for language models."""

COLOR_TAG = "mlflow.runColor"
"""Without it MLflow derives a run's colour from its id, and colours may be alike."""

REPORT_TAG = "report"
"""The study's report as a file; descriptions link to MLflow's copy."""

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


COSTS = frozenset(
    {
        "num_parameters",
        "macs_per_second_of_audio",
        "audio_seconds_per_second",
        "peak_memory_bytes",
        "train_seconds",
        "search_seconds",
        "gpu_energy_joules",
    }
)


class Point(NamedTuple):
    """A value of a metric, under its name in MLflow."""

    key: str
    value: float
    timestamp_ms: int
    step: int = 0


def metric_name(name: str) -> str:
    """The name in MLflow of the metric that a record or a comparison calls `name`.

    ``best/valid/wer`` becomes ``best/valid_wer``: else ``best/valid`` would be a group of its own.
    """
    group, separator, rest = name.partition("/")
    if separator:
        return f"{group}/{rest.replace('/', '_')}"
    if name in COSTS:
        return f"cost/{name}"
    if name.startswith(("wer_", "cer_")):
        return f"test/{name}"  # rates of a comparison are of the test split
    return f"train/{name}" if name == "epoch" else f"run/{name}"


def view_tags(made_at_ms: int) -> dict[str, str]:
    """The tags of an experiment that was made at `made_at_ms` (since 1970).

    The views are ``?viewStateShareKey=systems``, one row a system, and ``…=confirm``, one row a
    seed.
    """
    views = {
        "systems": ("One row a system", "summary", SUMMARY_COLUMNS, "test/wer_mean"),
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
