"""Tables of comparisons, as Rich renderables."""

from rich.console import Group
from rich.text import Text

from fulcrum.pipelines.comparison.affinity import Grouping
from fulcrum.pipelines.comparison.balance import Balance, worth
from fulcrum.pipelines.comparison.seesaw import Gain, Seesaw
from fulcrum.pipelines.runs.tables import COLUMNS, empty_table, metric_cell


def gains(seesaw: Seesaw) -> Group:
    """A line for each network, the best mean gain first: the places that it may have, each task's
    metric, and in brackets the ends of its gain over single-task."""
    table = empty_table("Gain over single-task")
    table.add_column("network")
    table.add_column("rank", justify="right")
    table.add_column("mean\ngain", justify="right")
    for task, metric in seesaw.keys(0):
        table.add_column(f"{task}\n{COLUMNS[metric][0]}", justify="right")
    for network in seesaw.ranked():
        cells = [_gain_cell(seesaw, network, key) for key in seesaw.keys(0)]
        table.add_row(network, seesaw.rank(network), percent(seesaw.mean_gain(network)), *cells)
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
        pace = comparison.slower[network]
        cells = [_gain_cell(comparison.seesaw, network, key) for key in keys]
        control = network == comparison.control
        gain = "control" if control else percent(comparison.seesaw.mean_gain(network))
        table.add_row(network, gain, "-" if pace is None else f"{pace:.2f} x", *cells)
    return Group(table, *map(Text, worth(comparison)))


def signed(gain: Gain, metric: str) -> str:
    """`+0.0012 [+0.0003, +0.0021]`, without the interval where there is none."""
    value = change(gain.value, metric)
    if gain.low is None or gain.high is None:
        return value
    return f"{value} [{change(gain.low, metric)}, {change(gain.high, metric)}]"


def change(value: float, metric: str) -> str:
    """A difference of a metric: `+0.0012`."""
    return COLUMNS[metric][1].replace("{:", "{:+").format(value)


def percent(gain: Gain | None) -> str:
    """`+0.12 %`; a dash where there is none."""
    return "-" if gain is None else f"{gain.value:+.2f} %"


def _gain_cell(seesaw: Seesaw, network: str, key: tuple[str, str]) -> Text:
    standing = seesaw.standings[network].get(key)
    if standing is None:
        return Text(seesaw.undefined.get(key, "-"), style="dim")
    cell = Text(metric_cell(key[1], standing.mean))
    if network != seesaw.single:
        colour = {1: "blue", -1: "red"}.get(standing.gain.mark, "dim")
        cell.append(f"\n{signed(standing.gain, key[1])}", style=f"not bold {colour}")
    return cell
