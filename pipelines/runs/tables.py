"""Tables of a run, as Rich renderables."""

import math
from collections.abc import Mapping, Sequence

import polars as pl
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fulcrum.features.prepared.manifest import Manifest
from fulcrum.models.bottoms import BOTTOMS, BottomConfig
from fulcrum.models.chains import CHAINS, ChainConfig
from fulcrum.models.gramians import GRAMIANS
from fulcrum.models.interactions import INTERACTIONS, InteractionConfig
from fulcrum.models.regularisers import REGULARISERS
from fulcrum.models.trunks import TRUNKS, TrunkConfig
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.comparison.affinity import Grouping
from fulcrum.pipelines.comparison.balance import Balance, worth
from fulcrum.pipelines.comparison.seesaw import Gain, Seesaw
from fulcrum.pipelines.quality.experts import ALARMS, Health
from fulcrum.pipelines.quality.metrics import Metrics

STRONG = 0.25
"""Population stability index above which a feature is said to have shifted."""

COLUMNS = {
    "auc": ("AUC", "{:.4f}"),
    "grouped_auc": ("grouped AUC", "{:.4f}"),
    "log_loss": ("log loss", "{:.4f}"),
    "s_log_loss": ("session log loss", "{:.4f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "calibration": ("calibration", "{:.3f}"),
    "rmse": ("RMSE", "{:.3f}"),
    "mae": ("MAE", "{:.3f}"),
    "deviance": ("deviance", "{:.4f}"),
}
"""Metric to heading and format, in the order of the columns."""
HEALTH = {
    "zero_rate_max": ("largest\nzero rate", "{:.0%}", lambda v: v > ALARMS["zero_rate"]),
    "scale_ratio": ("scale\nratio", "{:.1f}", lambda v: v > ALARMS["scale_ratio"]),
    "gate_entropy_min": ("least gate\nentropy", "{:.2f}", lambda v: v < ALARMS["gate_entropy"]),
    "occupancy_max": ("largest\noccupancy", "{:.0%}", lambda v: v > ALARMS["occupancy"]),
}
"""Statistic of a level to heading, format and what is an alarm, in the order of the columns."""


def results(title: str, tasks: Sequence[str], models: Mapping[str, Metrics]) -> Table:
    """A line for each task and model; metrics that no task has get no column."""
    shown = [
        metric
        for metric in COLUMNS
        if any(m.get(f"{metric}/{t}") is not None for m in models.values() for t in tasks)
    ]
    table = _table(title)
    table.add_column("task")
    table.add_column("model")
    for metric in shown:
        table.add_column(COLUMNS[metric][0], justify="right")
    for task in tasks:
        for row, (model, metrics) in enumerate(models.items()):
            cells = [_cell(metric, metrics.get(f"{metric}/{task}")) for metric in shown]
            style = "bold" if row == 0 else "dim"
            table.add_row(task if row == 0 else "", model, *cells, style=style)
        table.add_section()
    return table


def health(found: Health) -> Table:
    """A line for each gated level: the worst of each statistic, red beyond its alarm."""
    table = _table(f"Experts on {found.rows:,} rows")
    for heading in ("level", "experts", *(heading for heading, _, _ in HEALTH.values())):
        table.add_column(heading, justify="right")
    for level in found.levels:
        worst = found.worst(level)
        cells = [_health_cell(name, worst[name]) for name in HEALTH]
        table.add_row(str(level.number), str(len(level.owners)), *cells)
    return table


def gains(seesaw: Seesaw) -> Group:
    """A line for each network, the best mean gain first: each task's metric, and in brackets the
    ends of its gain over single-task."""
    table = _table("Gain over single-task")
    table.add_column("network")
    table.add_column("mean\ngain", justify="right")
    for task, metric in seesaw.keys(0):
        table.add_column(f"{task}\n{COLUMNS[metric][0]}", justify="right")
    for network in seesaw.ranked():
        mean = seesaw.mean_gain(network)
        cells = [_gain_cell(seesaw, network, key) for key in seesaw.keys(0)]
        table.add_row(network, "-" if mean is None else f"{mean:+.2f} %", *cells)
    return Group(table, Text("blue: clearly rises; red: clearly falls", style="dim italic"))


def groups(found: Grouping) -> Group:
    """A line for each group: its tasks, and the mean cosines of their gradients."""
    table = _table("Groups of tasks")
    table.add_column("group", justify="right")
    table.add_column("tasks", overflow="fold")
    table.add_column("cosine\nwithin", justify="right")
    table.add_column("cosine\nto others", justify="right")
    for number, (members, names) in enumerate(zip(found.groups, found.names, strict=True), 1):
        means = (found.within(members), found.between(members))
        cells = ["-" if mean is None else f"{mean:+.2f}" for mean in means]
        table.add_row(str(number), ", ".join(names), *cells)
    note = "cosines of task gradients, mean over the evaluations of a training"
    return Group(table, Text(note, style="dim italic"))


def balance(found: Balance) -> Group:
    """A line for each weighting of a trunk, the control first: time of a step, each task's metric,
    and in brackets the ends of its gain over the control."""
    table = _table(f"{found.trunk}: gain over static weights")
    table.add_column("network")
    table.add_column("mean\ngain", justify="right")
    table.add_column("time of\na step", justify="right")
    keys = found.seesaw.keys(0)
    for task, metric in keys:
        table.add_column(f"{task}\n{COLUMNS[metric][0]}", justify="right")
    for network in (found.control, *found.others):
        mean, pace = found.seesaw.mean_gain(network), found.slower[network]
        cells = [_gain_cell(found.seesaw, network, key) for key in keys]
        gain = "control" if network == found.control else "-" if mean is None else f"{mean:+.2f} %"
        table.add_row(network, gain, "-" if pace is None else f"{pace:.2f} x", *cells)
    return Group(table, *map(Text, worth(found)))


def signed(gain: Gain, metric: str) -> str:
    """`+0.0012 [+0.0003, +0.0021]`, without the interval where there is none."""
    form = COLUMNS[metric][1].replace("{:", "{:+")
    value = form.format(gain.value)
    if gain.low is None or gain.high is None:
        return value
    return f"{value} [{form.format(gain.low)}, {form.format(gain.high)}]"


def splits(manifest: Manifest) -> Group:
    """A line for each split: rows, boundary, and the rate of each binary task."""
    table = _table("Splits")
    table.add_column("split")
    table.add_column("rows", justify="right")
    tasks = list(dict.fromkeys(t for facts in manifest.splits.values() for t in facts.positives))
    for task in tasks:
        table.add_column(task, justify="right")
    for split, facts in manifest.splits.items():
        rates = [
            f"{facts.positives[task] / facts.observed[task]:.2%}" if facts.observed[task] else "-"
            for task in tasks
        ]
        table.add_row(split, f"{facts.rows:,}", *rates)
    dropped = ", ".join(f"{count:,} {why}" for why, count in manifest.rows_dropped.items() if count)
    limits = ", ".join(f"{name} {value}" for name, value in manifest.boundaries.items())
    notes = [f"{manifest.rows_read:,} rows read", f"left out: {dropped}" if dropped else "", limits]
    return Group(table, Text("; ".join(filter(None, notes)), style="dim italic"))


def features(drift: pl.DataFrame) -> Group:
    """A line for each feature: vocabulary, missing and unknown values, shift against training."""
    last = drift.columns[-1].rpartition(".")[2]
    columns = {
        "feature": "feature",
        "kind": "kind",
        "vocabulary": "vocabulary",
        "null.train": "null\ntrain",
    }
    if last != "train":
        columns |= {f"{fact}.{last}": f"{fact}\n{last}" for fact in ("null", "unknown")}
        columns[f"psi.{last}"] = f"PSI\n{last}"
    table = _table("Features")
    for name, heading in columns.items():
        text = name in ("feature", "kind")
        table.add_column(heading, justify="left" if text else "right", no_wrap=True)
    for row in drift.iter_rows(named=True):
        shifted = row.get(f"psi.{last}", 0.0) > STRONG
        cells = [_feature_cell(name, row[name]) for name in columns]
        table.add_row(*cells, style="red" if shifted else "")
    note = f"red: a population stability index (PSI) above {STRONG}, a shift"
    return Group(table, Text(note, style="dim italic"))


def families(title: str, members: Mapping[str, tuple[str, str]]) -> Table:
    """A line for each member of a family: name, what it is, where it comes from."""
    table = _table(title)
    for heading in ("name", "what it is", "source"):
        table.add_column(heading, overflow="fold")
    for name, (summary, source) in members.items():
        table.add_row(f"[bold]{name}[/bold]", summary, source)
    return table


def networks() -> Group:
    """What a `model:` may be made of."""
    parts: dict[
        str, Mapping[str, type[TrunkConfig | BottomConfig | InteractionConfig | ChainConfig]]
    ] = {
        "model.architecture": TRUNKS,
        "model.bottom": BOTTOMS,
        "model.interaction": INTERACTIONS,
        "model.chain": CHAINS,
    }
    return Group(
        *(
            families(title, {name: (c.summary, c.source) for name, c in members.items()})
            for title, members in parts.items()
        )
    )


def weightings() -> Group:
    """What `weighting.method` may name, by what its weights are made from; then what may stand
    beside it, and where gradients may be compared."""
    methods = _table("weighting.method")
    for heading in ("name", "made from", "what it is", "source"):
        methods.add_column(heading, overflow="fold")
    for family in dict.fromkeys(config.family for config in WEIGHTINGS.values()):
        for name, config in WEIGHTINGS.items():
            if config.family == family:
                methods.add_row(f"[bold]{name}[/bold]", family, config.summary, config.source)
        methods.add_section()
    beside = {name: (c.summary, c.source) for name, c in REGULARISERS.items()}
    places = _table("weighting.gramian.kind")
    for heading in ("name", "what it is"):
        places.add_column(heading, overflow="fold")
    for name, place in GRAMIANS.items():
        places.add_row(f"[bold]{name}[/bold]", place.summary)
    return Group(methods, families("regulariser.kind", beside), places)


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )


def _feature_cell(name: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if name == "vocabulary":
        return f"{value:,}"
    return f"{value:.3f}" if name.startswith("psi.") else f"{value:.1%}"


def _health_cell(name: str, value: float) -> str:
    _, form, alarms = HEALTH[name]
    if not math.isfinite(value):
        return "-"
    return f"[red]{form.format(value)}[/red]" if alarms(value) else form.format(value)


def _gain_cell(seesaw: Seesaw, network: str, key: tuple[str, str]) -> Text:
    standing = seesaw.standings[network].get(key)
    if standing is None:
        return Text(seesaw.undefined.get(key, "-"), style="dim")
    cell = Text(_cell(key[1], standing.mean), style="bold" if network in seesaw.best(key) else "")
    if network != seesaw.single:
        colour = "blue" if standing.gain.rises else "red" if standing.gain.falls else "dim"
        cell.append(f"\n{signed(standing.gain, key[1])}", style=f"not bold {colour}")
    return cell


def _cell(metric: str, value: float | None) -> str:
    return "-" if value is None else COLUMNS[metric][1].format(value)
