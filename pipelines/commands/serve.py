import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import MODEL, STORE, Device, History, Tracking


def serve(
    model: Annotated[str | None, MODEL] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The YAML file of an experiment, in place of --model.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the experiment's assignments, exposures and outcomes are logged.",
            show_default=False,
        ),
    ] = None,
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
    Prometheus; the Open Inference Protocol's v2 routes are there, too. With an experiment, rows are
    answered by their user's arm and logged; POST /assign and POST /outcomes are there as well.
    """
    from fulcrum.features.errors import ConfigError

    if (model is None) == (experiment is None):
        raise ConfigError("fulcrum serve: expected either --model or --experiment")
    if experiment is None and log is not None:
        raise ConfigError("fulcrum serve: --log is of an experiment; expected --experiment, too")
    test = None
    if experiment is not None:
        from fulcrum.pipelines.ab.log.experiment import Experiment, problems
        from fulcrum.pipelines.config.load import read

        if log is None:
            raise ConfigError("fulcrum serve: --experiment needs --log, the folder of its log")
        test = read(Experiment, experiment, (), problems)

    from functools import partial

    from fulcrum.serving.experiments.service import ExperimentService
    from fulcrum.serving.http.model_service import ModelService
    from fulcrum.serving.http.service import Service
    from fulcrum.serving.publishing.registry import Registry
    from fulcrum.serving.service import serve as run

    registry = Registry(tracking)
    load: Callable[[], Service]
    if test is not None and log is not None:
        load = partial(ExperimentService, test, registry, log, device, store)
    else:
        target = registry.resolve(str(model))
        load = partial(ModelService, target.bundle, target.name, target.version, device, store)
    run(load, host=host, port=port, history=history)
    _leave_behind()


def _leave_behind() -> None:
    """End the process if a request that was given up is still worked on: Python would wait."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(1)
            if thread.is_alive():
                os._exit(0)
