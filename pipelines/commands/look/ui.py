from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Tracking

HOST = "127.0.0.1"


def ui(
    tracking: Tracking = STORE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Browse runs and models in MLflow's own pages, on this machine alone."""
    import os
    import sys

    from fulcrum.features.errors import ConfigError, ResourceError
    from fulcrum.pipelines.console.terminal import messages
    from fulcrum.serving.publishing.store import address, database
    from fulcrum.serving.service import listen

    file = database(tracking)
    if file is None:
        raise ConfigError(f"{tracking} is a server: open it in a browser")
    if not file.is_file():
        raise ResourceError(f"there is no store {tracking} yet (see --tracking)")
    with listen(HOST, port):
        messages.print(f"runs and models of {tracking}: http://{HOST}:{port}", markup=False)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": address(tracking),
        "MLFLOW_REGISTRY_URI": address(tracking),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # `mlflow ui` would be a process that starts another; this one becomes the server itself, so
    # that none is left on the port however it is ended.
    command = [sys.executable, "-W", "ignore", "-m", "uvicorn", "mlflow.server.fastapi_app:app"]
    command += ["--host", HOST, "--port", str(port), "--log-level", "warning"]
    os.execve(sys.executable, command, environment)
