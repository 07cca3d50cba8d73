"""Fulcrum: declarative multi-task recommenders, from logs to a served model."""

import os

# MLflow reads these when it is imported: nothing is reported to its makers, a server that is down
# is told of after seconds instead of four minutes, and making a store says nothing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
