from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import Config, Set


def group(
    config: Config,
    overrides: Set,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="Number of groups; by the signs of cosines when left out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the groups' configs; the grouping's own when left out."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a config of HoME, a category a group."),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train a model for each group.")] = False,
) -> None:
    """Group the tasks whose gradients agree, and write a config for each group.

    Trains the config with equal static weights, or finds that training, and takes the mean cosines
    of task gradients at its evaluations. Values of --set hold for the trainings, and are not
    written to the groups' configs.
    """
    from fulcrum.pipelines.config.load import load

    run = load(config, overrides)

    from fulcrum.pipelines.comparison import tables
    from fulcrum.pipelines.comparison.grouping import group as find
    from fulcrum.pipelines.comparison.grouping import orphans, write_groups, write_home
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs.run import Options, start
    from fulcrum.pipelines.runs.tables import results

    grouping = find(run, groups, terminal.messages)
    terminal.results.print(tables.groups(grouping))
    terminal.results.print(f"matrix: {grouping.folder / 'affinity.svg'}")
    plain = load(config)
    for members in grouping.names:
        for task in orphans(plain, members):
            terminal.results.print(f"`{task}` is without its chain: what it is given is elsewhere")
    files = write_groups(grouping, plain, config, out or grouping.folder)
    for file in files:
        terminal.results.print(f"group: {file}")
    if home is not None:
        terminal.results.print(f"home: {write_home(grouping, plain, config, home)}")
    for file in files if train else ():
        outcome = start(load(file, overrides), Options(1, False, terminal.messages))
        terminal.results.print(results(outcome.title, outcome.tasks, outcome.metrics))
        terminal.results.print(f"registered as {outcome.model}")
