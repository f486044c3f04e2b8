"""Metrics sent to MLflow one at a time while training waits. Imports mlflow at once.

How most training scripts do it, and what `Tracker` spares ours: bench.speed measures against it.
"""

from collections.abc import Mapping

from bench.runs.mlflow.store import connect


class DirectLog:
    """A run of its own in the store at `uri`."""

    def __init__(self, uri: str, name: str) -> None:
        """Create the run `name`.

        Raises:
            UserError: a store that cannot be opened.
        """
        store = connect(uri)
        self._client = store.client
        self._run_id = store.create_run(store.experiment("direct"), name, {}).info.run_id

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        """Send each of `metrics`, and wait for each."""
        for key, value in metrics.items():
            self._client.log_metric(self._run_id, key, value, step=step)
