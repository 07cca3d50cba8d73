from typing import Annotated, Literal

import typer

from fulcrum.pipelines.commands.options import STORE, Run, Tracking


def evaluate(
    run: Run,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option(help="Rows to measure on.")
    ] = "test",
    tracking: Tracking = STORE,
) -> None:
    """Measure a run's best weights on a split, beside a constant predictor."""
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables
    from fulcrum.pipelines.runs.run import measure_run
    from fulcrum.pipelines.tracking.mlflow import find_run

    outcome = measure_run(find_run(tracking, run), split, terminal.messages)
    terminal.results.print(tables.results(outcome.title, outcome.tasks, outcome.metrics))
    if outcome.health.levels:
        terminal.results.print(tables.health(outcome.health))
    if outcome.uncalibrated:
        after = next(iter(outcome.metrics.values()))
        terminal.results.print(tables.calibration(outcome.tasks, outcome.uncalibrated, after))
    if len(outcome.segments):
        terminal.results.print(tables.segments(outcome.segments))
