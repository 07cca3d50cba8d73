from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Run, Tracking


def register(
    run: Run,
    alias: Annotated[
        str | None,
        typer.Option(help="Point this alias at the version, for example candidate."),
    ] = None,
    tracking: Tracking = STORE,
) -> None:
    """Make a run's model a version of its registered model, and move an alias to it.

    A run that has a version already gets no second one. What becomes champion is for `fulcrum
    promote` to say. The registered model keeps a tag of every move of an alias: when, from which
    version, to which.
    """
    from fulcrum.pipelines.console.terminal import results
    from fulcrum.pipelines.runs.register import register_run
    from fulcrum.pipelines.tracking.mlflow import find_run

    name, version = register_run(find_run(tracking, run), tracking, alias)
    results.print(f"models:/{name}/{version}" + (f" is @{alias}" if alias else ""))
