"""Where runs and models are kept unless a config or an option says otherwise."""

STORE = "sqlite:///mlruns.db"
"""An MLflow store in the working directory."""
