from typing import Annotated, Literal

import typer

from fulcrum.pipelines.commands.options import STORE, Run, Tracking


def evaluate(
    run: Run,
    left_out: Annotated[
        list[str],
        typer.Option(
            "--leave-out",
            metavar="NAMES",
            help="Also train without these features, for example length,tags. May be repeated: a "
            "training each.",
            default_factory=list,
            show_default=False,
        ),
    ],
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option(help="Rows to measure on.")
    ] = "test",
    importance: Annotated[
        bool,
        typer.Option(
            "--importance", help="Also measure what each task loses when features are shuffled."
        ),
    ] = False,
    tracking: Tracking = STORE,
) -> None:
    """Measure a run's best weights on a split, beside a constant predictor."""
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables
    from fulcrum.pipelines.runs.run import measure_run
    from fulcrum.pipelines.tracking.mlflow import find_run

    found = find_run(tracking, run)
    outcome = measure_run(found, split, terminal.messages)
    terminal.results.print(tables.results(outcome.title, outcome.tasks, outcome.metrics))
    if outcome.health.levels:
        terminal.results.print(tables.health(outcome.health))
    if outcome.uncalibrated:
        after = next(iter(outcome.metrics.values()))
        terminal.results.print(tables.calibration(outcome.tasks, outcome.uncalibrated, after))
    if len(outcome.segments):
        terminal.results.print(tables.segments(outcome.segments))
    if not (importance or left_out):
        return

    from fulcrum.pipelines.importance import tables as importance_tables
    from fulcrum.pipelines.importance.leave_out import leave_out
    from fulcrum.pipelines.importance.of_run import measure_importance

    if importance:
        losses = measure_importance(found, split, tracking, terminal.messages)
        terminal.results.print(importance_tables.importance(losses))
        terminal.results.print(f"table: {found.folder / f'importance_{split}.csv'}")
    for names in left_out:
        trial = leave_out(found, names.split(","), split, tracking, terminal.messages)
        terminal.results.print(importance_tables.trial(trial))
