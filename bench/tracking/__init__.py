"""Run records on disk, and their copy in MLflow; the only package that imports mlflow.

The run folder is the truth: it is written as training goes, without a server. MLflow gets a copy of
it, from a thread while the run lasts and from `flush_unsent` afterwards, by the same function
(`bench.tracking.mirror`). Sending twice changes nothing.

Only `store`, `mirror`, `model` and `direct` import mlflow (1.5 s), and `plots` matplotlib; the
other modules import these when needed.
"""

import os

from bench.tracking.notes import Findings
from bench.tracking.reader import Tables, confirmed, read_study
from bench.tracking.record import RunIdentity, RunRecord
from bench.tracking.study import StudyTracker, flush_unsent
from bench.tracking.tracker import Tracker, TrackingTarget
from bench.tracking.uri import display_uri, tracking_uri

__all__ = [
    "Findings",
    "RunIdentity",
    "RunRecord",
    "StudyTracker",
    "Tables",
    "Tracker",
    "TrackingTarget",
    "confirmed",
    "display_uri",
    "flush_unsent",
    "read_study",
    "tracking_uri",
]

# mlflow reads these when it is imported, which only modules of this package do, so later than this.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its log goes where ours goes, at the level of ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "GIT_PYTHON_REFRESH": "quiet",  # no warning where git is missing
    # Given up within a minute (mlflow: 7 tries of 120 s); the thread comes back later.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}.items():
    os.environ.setdefault(_name, _value)
