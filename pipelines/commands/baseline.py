from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import Config, Set


def baseline(
    config: Config,
    overrides: Set,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="The registered model to compare with; the newest finished run of CONFIG when "
            "left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fit gradient boosting on the same features, one model a task, and compare the network.

    Needs LightGBM: `pip install 'fulcrum-recsys[baseline]'`.
    """
    from fulcrum.pipelines.config.load import load

    run = load(config, overrides)

    from fulcrum.pipelines.baseline.baseline import baseline as fit
    from fulcrum.pipelines.baseline.baseline import sentences
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs import tables

    told = fit(run, model, terminal.messages)
    terminal.results.print(tables.results(told.title, told.tasks, told.metrics))
    for sentence in sentences(told):
        terminal.results.print(sentence)
