from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import ExperimentFile, Logs, Set

PLANS = {
    "sequential": "a sequential plan: found at some look until then, however often one looks",
    "fixed": "a fixed plan: found at its end, in one look",
}


def power(
    logs: Logs,
    experiment: ExperimentFile,
    effect: Annotated[float, typer.Option(help="Difference to find, in each metric's own unit.")],
    overrides: Set,
    relative: Annotated[
        bool, typer.Option("--relative", help="The difference is a share: 0.02 is 2 %.")
    ] = False,
    power: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Chance with which the test shall find it.")
    ] = 0.8,
) -> None:
    """How many users and days a test needs, from a log of the past.

    The log needs no arms. Shares, traffic, metrics, plan and alpha are the experiment's; each
    metric is judged as its analysis will judge it, beside as many comparisons.
    """
    from fulcrum.pipelines.ab.log.experiment import Experiment, problems
    from fulcrum.pipelines.config.load import read

    config = read(Experiment, experiment, overrides, problems)

    from rich.table import Table

    from fulcrum.pipelines.ab.log.sizing import Size, sizes
    from fulcrum.pipelines.console import terminal

    def row(size: Size) -> tuple[str, ...]:
        if size.problem:
            return size.metric, size.role, str(size.comparisons), size.problem
        days = "?"
        if size.days is not None:
            days = f"{size.days.days:,}" if not size.days.beyond else f"about {size.days.days:,}"
        return (
            size.metric,
            size.role,
            str(size.comparisons),
            f"{size.value:.4g}",
            f"{size.effect:+.3g}",
            f"{size.users:,}",
            days,
        )

    all_sizes = sizes(logs, config, effect, relative, power)
    table = Table("metric", "role", "comparisons", "value", "effect to find", "users", "days")
    for size in all_sizes:
        table.add_row(*row(size))
    terminal.results.print(table)
    assert config.analysis is not None
    terminal.results.print(PLANS[config.analysis.plan.kind])
    if any(size.days is not None and size.days.beyond for size in all_sizes):
        terminal.results.print("about: beyond the log, if newcomers go on as in its second half")
    if any(not size.problem and size.days is None for size in all_sizes):
        terminal.results.print("?: the log has no times, or no newcomers in its second half")
