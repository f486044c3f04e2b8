"""What sending to a tracking database imports, for seconds: once, where workers are forked from."""

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # else at the first connection, .6 s

import bench.runs.mlflow.mirror  # noqa: F401
