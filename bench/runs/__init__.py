"""Run records on disk, and their copy in MLflow; the only package that imports mlflow.

The run folder is the truth: it is written as training goes, without a server. MLflow gets a copy of
it, from a thread while the run lasts and from `flush_unsent` afterwards, by the same function
(`bench.runs.mlflow.mirror`). Sending twice changes nothing.

Only `store`, `model` and `transcriber` import mlflow (1.5 s), and `plots` matplotlib; the other
modules import these when needed.
"""

from bench.runs.mlflow.descriptions import Findings
from bench.runs.mlflow.mirror import store_of
from bench.runs.mlflow.study import StudyTracker, flush_unsent
from bench.runs.mlflow.tracker import Tracker, TrackingTarget
from bench.runs.mlflow.uri import display_uri, set_mlflow_defaults, tracking_uri
from bench.runs.reader import Tables, confirm_checkpoints, read_study
from bench.runs.record import RunIdentity, RunRecord

__all__ = [
    "Findings",
    "RunIdentity",
    "RunRecord",
    "StudyTracker",
    "Tables",
    "Tracker",
    "TrackingTarget",
    "confirm_checkpoints",
    "display_uri",
    "flush_unsent",
    "read_study",
    "set_mlflow_defaults",
    "store_of",
    "tracking_uri",
]
