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
    sweep: Annotated[
        list[str],
        typer.Option(
            "--sweep",
            metavar="PATH=[VALUE,...]",
            help="Values of a setting to try with each network, for example "
            "--sweep train.epochs=[4,8]; the best on the validation split is measured. May be "
            "repeated: every combination is a trial.",
            default_factory=list,
            show_default=False,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 1,
    weightings: Annotated[
        str,
        typer.Option(
            help="Weightings to try with each network beside its own, for example "
            "`uncertainty,upgrad`; with static weights as the control."
        ),
    ] = "",
    relevant: Annotated[
        float,
        typer.Option(
            min=0,
            help="Per cent of single-task's value below which a gain is not marked, however sure "
            "it is.",
        ),
    ] = 0.1,
) -> None:
    """Train several networks under one budget, and show which tasks rise and which pay.

    Single-task networks and the first network with equal static weights are always among them.
    Finished runs of the same config, data and seed are taken as they are and stopped ones go on.
    A gain is marked where neither other users nor other seeds would take it away, all gains
    together; that needs two seeds or more. Writes one HTML page, a CSV and the table as Markdown;
    nothing is exported or registered.
    """
    from fulcrum.pipelines.comparison.fairness.trials import read_trials

    trials = read_trials(configs, overrides, sweep)

    from fulcrum.pipelines.comparison import tables
    from fulcrum.pipelines.comparison.compare import compare as run
    from fulcrum.pipelines.comparison.weightings import methods
    from fulcrum.pipelines.console import terminal

    chosen = methods(weightings) if weightings else ()
    comparison = run(trials, seeds, terminal.messages, chosen, relevant)
    terminal.results.print(tables.gains(comparison.seesaw))
    for balance in comparison.balances:
        terminal.results.print(tables.balance(balance))
    for sentence in comparison.sentences:
        terminal.results.print(sentence)
    terminal.results.print(f"page: {comparison.page}\ntable: {comparison.table}")
