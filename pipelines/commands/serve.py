from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.commands.options import MODEL, STORE, Device, History, Tracking

if TYPE_CHECKING:
    from fulcrum.serving.http.service import Service


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
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Processes that answer, of one thread each if several."),
    ] = 1,
    device: Device = "auto",
    tracking: Tracking = STORE,
) -> None:
    """Answer scoring requests over HTTP until stopped.

    POST /score takes raw rows as JSON, POST /events adds past events, GET /metrics is for
    Prometheus; the Open Inference Protocol's v2 routes are there, too. With an experiment, rows are
    answered by their user's arm and logged; POST /assign and POST /outcomes are there as well.
    """
    if model is not None and experiment is None:
        load = _of_model(model, log, workers, tracking, device)
    elif experiment is not None and model is None:
        load = _of_experiment(experiment, log, workers, tracking, device)
    else:
        raise ConfigError("fulcrum serve: expected either --model or --experiment")

    if workers > 1:
        from fulcrum.serving.workers import serve_by

        serve_by(workers, load, host=host, port=port, history=history, store=store)
        return

    from fulcrum.serving.service import leave_behind
    from fulcrum.serving.service import serve as run

    run(partial(load, store=store), host=host, port=port, history=history)
    leave_behind()


def _of_model(
    uri: str, log: Path | None, workers: int, tracking: str, device: Device
) -> "Callable[..., Service]":
    """What loads one model, given its `store`."""
    if log is not None:
        raise ConfigError("fulcrum serve: --log is of an experiment; expected --experiment, too")

    from fulcrum.serving.http.model_service import ModelService
    from fulcrum.serving.publishing.resolve import resolve

    target = resolve(uri, tracking)
    threads = None if workers == 1 else 1
    return partial(
        ModelService, target.bundle, target.name, target.version, device, threads=threads
    )


def _of_experiment(
    file: Path, log: Path | None, workers: int, tracking: str, device: Device
) -> "Callable[..., Service]":
    """What loads the models of an experiment's arms, given their `store`. Raises ConfigError for
    what is wrong in its file, before anything heavy is imported."""
    if log is None:
        raise ConfigError("fulcrum serve: --experiment needs --log, the folder of its log")
    if workers > 1:
        raise ConfigError(
            f"fulcrum serve: --workers {workers}, but one process keeps an experiment's log; "
            "expected 1"
        )

    from fulcrum.pipelines.ab.log.experiment import Experiment, problems
    from fulcrum.pipelines.config.load import read

    test = read(Experiment, file, (), problems)

    from fulcrum.serving.experiments.service import ExperimentService
    from fulcrum.serving.publishing.registry import Registry

    return partial(ExperimentService, test, Registry(tracking), log, device)
