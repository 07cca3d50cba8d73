from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Device, History, Tracking


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder.",
            show_default=False,
        ),
    ] = None,
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

    from fulcrum.serving.publishing.registry import Registry
    from fulcrum.serving.service import serve as run
    from fulcrum.serving.service import serve_experiment as run_experiment

    registry = Registry(tracking)
    if model is not None:
        target = registry.resolve(model)
        run(
            target.bundle,
            name=target.name,
            version=target.version,
            host=host,
            port=port,
            history=history,
            store=store,
            device=device,
        )
    elif test is not None and log is not None:
        run_experiment(
            test,
            registry,
            log,
            host=host,
            port=port,
            history=history,
            store=store,
            device=device,
        )
