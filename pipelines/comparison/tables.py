"""Tables of comparisons, as Rich renderables."""

from rich.console import Group
from rich.text import Text

from fulcrum.pipelines.comparison.affinity import Grouping
from fulcrum.pipelines.comparison.balance import Balance, worth
from fulcrum.pipelines.comparison.seesaw import Gain, Seesaw
from fulcrum.pipelines.runs.tables import COLUMNS, empty_table, metric_cell


def gains(seesaw: Seesaw) -> Group:
    """A line for each network, the best mean gain first: each task's metric, and in brackets the
    ends of its gain over single-task."""
    table = empty_table("Gain over single-task")
    table.add_column("network")
    table.add_column("mean\ngain", justify="right")
    for task, metric in seesaw.keys(0):
        table.add_column(f"{task}\n{COLUMNS[metric][0]}", justify="right")
    for network in seesaw.ranked():
        mean = seesaw.mean_gain(network)
        cells = [_gain_cell(seesaw, network, key) for key in seesaw.keys(0)]
        table.add_row(network, "-" if mean is None else f"{mean:+.2f} %", *cells)
    return Group(table, Text("blue: clearly rises; red: clearly falls", style="dim italic"))


def groups(grouping: Grouping) -> Group:
    """A line for each group: its tasks, and the mean cosines of their gradients."""
    table = empty_table("Groups of tasks")
    table.add_column("group", justify="right")
    table.add_column("tasks", overflow="fold")
    table.add_column("cosine\nwithin", justify="right")
    table.add_column("cosine\nto others", justify="right")
    for number, (members, names) in enumerate(zip(grouping.groups, grouping.names, strict=True), 1):
        means = (grouping.within(members), grouping.between(members))
        cells = ["-" if mean is None else f"{mean:+.2f}" for mean in means]
        table.add_row(str(number), ", ".join(names), *cells)
    note = "cosines of task gradients, mean over the evaluations of a training"
    return Group(table, Text(note, style="dim italic"))


def balance(comparison: Balance) -> Group:
    """A line for each weighting of a trunk, the control first: time of a step, each task's metric,
    and in brackets the ends of its gain over the control."""
    table = empty_table(f"{comparison.trunk}: gain over static weights")
    table.add_column("network")
    table.add_column("mean\ngain", justify="right")
    table.add_column("time of\na step", justify="right")
    keys = comparison.seesaw.keys(0)
    for task, metric in keys:
        table.add_column(f"{task}\n{COLUMNS[metric][0]}", justify="right")
    for network in (comparison.control, *comparison.others):
        mean, pace = comparison.seesaw.mean_gain(network), comparison.slower[network]
        cells = [_gain_cell(comparison.seesaw, network, key) for key in keys]
        gain = (
            "control"
            if network == comparison.control
            else "-"
            if mean is None
            else f"{mean:+.2f} %"
        )
        table.add_row(network, gain, "-" if pace is None else f"{pace:.2f} x", *cells)
    return Group(table, *map(Text, worth(comparison)))


def signed(gain: Gain, metric: str) -> str:
    """`+0.0012 [+0.0003, +0.0021]`, without the interval where there is none."""
    form = COLUMNS[metric][1].replace("{:", "{:+")
    value = form.format(gain.value)
    if gain.low is None or gain.high is None:
        return value
    return f"{value} [{form.format(gain.low)}, {form.format(gain.high)}]"


def _gain_cell(seesaw: Seesaw, network: str, key: tuple[str, str]) -> Text:
    standing = seesaw.standings[network].get(key)
    if standing is None:
        return Text(seesaw.undefined.get(key, "-"), style="dim")
    style = "bold" if network in seesaw.best(key) else ""
    cell = Text(metric_cell(key[1], standing.mean), style=style)
    if network != seesaw.single:
        colour = "blue" if standing.gain.rises else "red" if standing.gain.falls else "dim"
        cell.append(f"\n{signed(standing.gain, key[1])}", style=f"not bold {colour}")
    return cell
