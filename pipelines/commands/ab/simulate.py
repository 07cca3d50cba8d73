from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Set, Tracking


def simulate(
    config: Annotated[
        Path, typer.Argument(help="The world's YAML file.", metavar="CONFIG", show_default=False)
    ],
    overrides: Set,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of what comes out; `.fulcrum/worlds/<name>` when left out.",
            show_default=False,
        ),
    ] = None,
    tracking: Tracking = STORE,
) -> None:
    """Play a world whose truth is known: recommenders that learn from the users they serve."""
    from fulcrum.pipelines.ab.simulation.config import Simulation
    from fulcrum.pipelines.config.load import read

    simulation = read(Simulation, config, overrides)

    from fulcrum.pipelines.ab.simulation.simulate import simulate as run
    from fulcrum.pipelines.console import terminal

    folder = output or Path(".fulcrum", "worlds", simulation.name)
    outcome = run(simulation, folder, tracking, terminal.messages)
    for table in outcome.result.tables:
        terminal.results.print(table)
    for sentence in outcome.result.sentences:
        terminal.results.print(sentence, markup=False, soft_wrap=True)
    for file in outcome.files:
        terminal.results.print(str(file), soft_wrap=True)
