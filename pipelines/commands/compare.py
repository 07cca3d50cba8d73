from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import Set


def compare(
    configs: Annotated[
        list[Path],
        typer.Argument(help="The runs' YAML files.", metavar="CONFIG...", show_default=False),
    ],
    overrides: Set,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 1,
    weightings: Annotated[
        str,
        typer.Option(
            help="Weightings to try with each network beside its own, for example "
            "`uncertainty,upgrad`; with static weights as the control."
        ),
    ] = "",
) -> None:
    """Train several networks under one budget, and show which tasks rise and which pay.

    Single-task networks and the first network with equal static weights are always among them.
    Finished runs of the same config, data and seed are taken as they are and stopped ones go on.
    Writes one HTML page and a CSV; nothing is exported or registered.
    """
    from fulcrum.pipelines.config.load import load

    networks = [load(config, overrides) for config in configs]

    from fulcrum.pipelines.comparison import tables
    from fulcrum.pipelines.comparison.compare import compare as run
    from fulcrum.pipelines.comparison.page import sentences
    from fulcrum.pipelines.comparison.weightings import methods
    from fulcrum.pipelines.console import terminal

    comparison = run(networks, seeds, terminal.messages, methods(weightings) if weightings else ())
    terminal.results.print(tables.gains(comparison.seesaw))
    for balance in comparison.balances:
        terminal.results.print(tables.balance(balance))
    for sentence in sentences(comparison.seesaw):
        terminal.results.print(sentence)
    terminal.results.print(f"page: {comparison.page}\ntable: {comparison.table}")
