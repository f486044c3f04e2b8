"""The copy of run records in MLflow."""
