from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import STORE, Device, History, Model, Tracking


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    history: History = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="SQLite file of past events, kept across restarts; in memory when left out.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    tracking: Tracking = STORE,
) -> None:
    """Answer scoring requests over HTTP until stopped.

    POST /score takes raw rows as JSON, POST /events adds past events, GET /metrics is for
    Prometheus; the Open Inference Protocol's v2 routes are there, too.
    """
    from serving.registry import Registry
    from serving.service import serve as run

    found = Registry(tracking).resolve(model)
    run(
        found.bundle,
        name=found.name,
        version=found.version,
        host=host,
        port=port,
        history=history,
        store=store,
        device=device,
    )
