from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import Config, Set


def designs(
    config: Config,
    overrides: Set,
    designs: Annotated[
        str, typer.Option(help="What `weighted` is held against, with commas between.")
    ] = "pooling,splitting",
) -> None:
    """Train every arm's model under several designs, and say whether it matters.

    CONFIG is a run with `experiment_design`, as for `fulcrum train`; whichever arm it names, all
    are trained. Nothing is exported or registered.
    """
    from fulcrum.pipelines.config.load import load

    run = load(config, overrides)

    from fulcrum.pipelines.ab.design_study import compare_designs, table
    from fulcrum.pipelines.console import terminal

    names = [name.strip() for name in designs.split(",") if name.strip()]
    study = compare_designs(run, names, terminal.messages)
    terminal.results.print(table(study))
    for sentence in study.sentences:
        terminal.results.print(sentence, markup=False, soft_wrap=True)
