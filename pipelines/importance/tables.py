"""Tables of importance, as Rich renderables."""

from rich.console import Group
from rich.text import Text

from fulcrum.pipelines.importance.groups import short
from fulcrum.pipelines.importance.leave_out import Trial
from fulcrum.pipelines.importance.permutation import REPEATS, Importance
from fulcrum.pipelines.quality.differences import Difference
from fulcrum.pipelines.quality.pulls import LEVEL
from fulcrum.pipelines.runs.tables import COLUMNS, empty_table

TOP = 20
"""Lines; the rest is in the file."""


def importance(found: Importance) -> Group:
    """A line for each group of features, those that serve most first: what each task's metric
    loses, and below it the ends of the interval; dim where 0 is within."""
    table = empty_table(f"What {found.rows:,} rows of the {found.split} split lose")
    table.add_column("features", no_wrap=True)
    for task, metric in found.metrics.items():
        table.add_column(
            f"{task}\n{COLUMNS[metric][0]}", justify="right", min_width=8, overflow="fold"
        )
    now = [COLUMNS[m][1].format(found.values[task]) for task, m in found.metrics.items()]
    table.add_row("(as they are)", *now, end_section=True)
    ranked = found.ranked()
    for group in ranked[:TOP]:
        table.add_row(short(group), *(_cell(found, group, task) for task in found.metrics))
    more = f", {TOP} of {len(ranked)} groups" if len(ranked) > TOP else ""
    note = (
        f"mean of {REPEATS} permutations over the rows{more}; {LEVEL:.0%} for all "
        f"{len(ranked) * len(found.metrics):,} numbers at once: what other users and other "
        "permutations would change; dim: 0 is within"
    )
    return Group(table, Text(note, style="dim italic"))


def trial(found: Trial) -> Group:
    """A line for each task: its metric with the features and without, and the gain by them."""
    table = empty_table(f"Without {', '.join(found.features)}, on the {found.split} split")
    for heading in ("task", "metric"):
        table.add_column(heading)
    for heading in ("with", "without", "gain by them", f"{LEVEL:.0%}"):
        table.add_column(heading, justify="right")
    for task, metric in found.metrics.items():
        heading, form = COLUMNS[metric]
        values = [form.format(value) for value in found.values[task]]
        table.add_row(task, heading, *values, *_signed(found.gains[task], form))
    note = (
        f"{LEVEL:.0%}: what other users would change; one training each, and what other "
        "seeds would change comes on top"
    )
    return Group(table, Text(note, style="dim italic"))


def _cell(found: Importance, group: str, task: str) -> Text:
    loss = found.drops[group][task]
    value, ends = _signed(loss, COLUMNS[found.metrics[task]][1])
    cell = Text(value, style="" if loss.clear else "dim")
    return cell.append("\n" + ends.replace(" to ", "\n"), style="dim")


def _signed(gap: Difference, form: str) -> tuple[str, str]:
    """A value, and the ends of its interval; empty where there is none."""
    signed = form.replace("{:", "{:+")
    if gap.low is None or gap.high is None:
        return signed.format(gap.value), ""
    return signed.format(gap.value), f"{signed.format(gap.low)} to {signed.format(gap.high)}"
