import shlex
from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Set, Tracking
from fulcrum.pipelines.commands.promote import pass_gate


def train(
    overrides: Set,
    config: Annotated[
        Path | None, typer.Argument(help="The run's YAML file.", show_default=False)
    ] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that train together.")] = 1,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run (id or name), with its own config; leave CONFIG out.",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Also train one network per task, to compare.")
    ] = False,
    promote: Annotated[
        bool,
        typer.Option("--promote", help="Then make it champion, as `fulcrum promote` would."),
    ] = False,
    tracking: Tracking = STORE,
) -> None:
    """Train a model from logs to registry, and print how good it is.

    Prepares the data, trains, measures the test split beside a constant predictor, draws pictures,
    exports to ONNX, checks that ONNX Runtime and torch agree, and registers a new version of the
    model as @candidate. What makes a candidate champion is `fulcrum promote`.
    """
    if (config is None) == (resume is None):
        raise typer.BadParameter("give either CONFIG or --resume RUN")
    if resume is not None and overrides:
        raise typer.BadParameter("a resumed run keeps its config; leave --set out")

    from fulcrum.pipelines.config.load import load

    run = None if config is None else load(config, overrides)

    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables
    from fulcrum.pipelines.runs.run import Options, start, take_up
    from fulcrum.pipelines.tracking.mlflow import find_run

    options = Options(nproc, reference, terminal.messages)
    if run is not None:
        outcome = start(run, options)
    else:
        outcome = take_up(find_run(tracking, str(resume)), tracking, options)
    terminal.results.print(tables.results(outcome.title, outcome.tasks, outcome.metrics))
    if outcome.health.levels:
        terminal.results.print(tables.health(outcome.health))
    if outcome.uncalibrated:
        after = next(iter(outcome.metrics.values()))
        terminal.results.print(tables.calibration(outcome.tasks, outcome.uncalibrated, after))
    if len(outcome.segments):
        terminal.results.print(tables.segments(outcome.segments))
    terminal.results.print(f"registered as {outcome.model}")
    name, _, version = str(outcome.model).removeprefix("models:/").rpartition("/")
    uri = tracking if run is None else run.tracking.uri
    if promote:
        pass_gate(uri, name, version=int(version))
    else:
        store = [] if uri == STORE else ["--tracking", uri]
        command = shlex.join(["fulcrum", "promote", name, *store])
        said = f"`{command}` makes it champion, if it is good enough"
        terminal.results.print(said, markup=False, soft_wrap=True)
