from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Tracking


def ui(
    tracking: Tracking = STORE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Browse runs and models in MLflow's own pages, on this machine alone."""
    import os
    import subprocess
    import sys

    from fulcrum.features.errors import ConfigError, ResourceError

    if not tracking.startswith("sqlite:"):
        raise ConfigError(f"{tracking} is a server: open it in a browser")
    command = ["ui", "--backend-store-uri", tracking, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1"]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.run([sys.executable, "-m", "mlflow", *command], env=quiet, check=False)
    if process.returncode:
        raise ResourceError(f"mlflow ui stopped with {process.returncode}; is port {port} free?")
