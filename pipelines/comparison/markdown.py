"""The table of a comparison as Markdown, to be put into a README."""

from collections.abc import Mapping, Sequence

from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.order import FEW
from fulcrum.pipelines.comparison.seesaw import Seesaw
from fulcrum.pipelines.comparison.tables import percent
from fulcrum.pipelines.figures.balance import SIGNS
from fulcrum.pipelines.runs.tables import COLUMNS, metric_cell

UNFAIR = " †"


def markdown(
    seesaw: Seesaw, costs: Mapping[str, Cost], notes: Mapping[str, str], told: Sequence[str]
) -> str:
    """A line for each network, by mean gain: its rank, mean gain, the metric of each task that has
    enough positive rows, ▲ where it clearly rises and ▼ where it falls, what a row costs, and the
    rate of scoring to that of single-task; `told` are the sentences below."""
    keys = [key for key in seesaw.keys(0) if seesaw.positives.get(key[0], FEW) >= FEW]
    names = [f"{task} ({COLUMNS[metric][0]})" for task, metric in keys]
    head = ["network", "rank", "mean gain", *names, "operations per row", "scored, to single-task"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for network in seesaw.ranked():
        name = f"{network}{UNFAIR if network in notes else ''}"
        cells = [_cell(seesaw, network, key) for key in keys]
        cost = costs[network]
        rates = [f"{cost.flops / 1e3:,.0f} k", f"{cost.pace:.2f}"]
        gain = percent(seesaw.mean_gain(network))
        lines.append([name, seesaw.rank(network), gain, *cells, *rates])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    unfair = [f"† {network}: {note}." for network, note in notes.items()]
    return "\n\n".join([table, " ".join(told), *unfair]) + "\n"


def _cell(seesaw: Seesaw, network: str, key: tuple[str, str]) -> str:
    standing = seesaw.standings[network].get(key)
    if standing is None:
        return seesaw.undefined.get(key, "-")
    mark = "" if network == seesaw.single else SIGNS[standing.gain.mark]
    return f"{metric_cell(key[1], standing.mean)}{mark}"
