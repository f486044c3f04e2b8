"""What MLflow reads of the environment when it is imported, as this project has it."""

import os

VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its log goes where ours goes, at the level of ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "GIT_PYTHON_REFRESH": "quiet",  # no warning where git is missing
    # Given up within a minute (mlflow: 7 tries of 120 s); the thread comes back later.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def set_mlflow_defaults() -> None:
    """Set those VARIABLES that the user has not, for this process and those that it starts.

    Called by what sends to MLflow, before mlflow is imported.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
