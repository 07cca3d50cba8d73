"""Tables of a run, as Rich renderables."""

import math
from collections.abc import Mapping, Sequence

import polars as pl
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fulcrum.features.prepared.manifest import Manifest
from fulcrum.features.tasks import TASKS
from fulcrum.models.bottoms import BOTTOMS, BottomConfig
from fulcrum.models.chains import CHAINS, ChainConfig
from fulcrum.models.gramians import GRAMIANS
from fulcrum.models.interactions import INTERACTIONS, InteractionConfig
from fulcrum.models.regularisers import REGULARISERS
from fulcrum.models.trunks import TRUNKS, TrunkConfig
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.quality.alarms import ALARMS, SEGMENT_P
from fulcrum.pipelines.quality.experts import Health
from fulcrum.pipelines.quality.metrics import Metrics
from fulcrum.pipelines.quality.pulls import LEVEL

STRONG = 0.25
"""Population stability index above which a feature is said to have shifted."""

_HEADINGS = {
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
_JUDGED = [m for task in TASKS.values() for m in (*task.compared_by, *task.weighed_by)]
COLUMNS = {m: (m.replace("_", " "), "{:.4f}") for m in (*_HEADINGS, *_JUDGED)} | _HEADINGS
"""Metric to heading and format, in the order of the columns: those named above, then what else a
kind of task is compared or weighed by."""
HEALTH = {
    "zero_rate_max": ("largest\nzero rate", "{:.0%}", lambda v: v > ALARMS["zero_rate"]),
    "scale_ratio": ("scale\nratio", "{:.1f}", lambda v: v > ALARMS["scale_ratio"]),
    "gate_entropy_min": ("least gate\nentropy", "{:.2f}", lambda v: v < ALARMS["gate_entropy"]),
    "occupancy_max": ("largest\noccupancy", "{:.0%}", lambda v: v > ALARMS["occupancy"]),
}
"""Statistic of a level to heading, format and what is an alarm, in the order of the columns."""


def results(title: str, tasks: Sequence[str], models: Mapping[str, Metrics]) -> Group:
    """A line for each task and model; metrics that no task has get no column. Where `evidence` was
    measured, the interval stands beside the metric that a task is judged by, and below a task how
    many rows are positive."""
    columns = [
        metric
        for metric in COLUMNS
        if any(m.get(f"{metric}/{t}") is not None for m in models.values() for t in tasks)
    ]
    table = empty_table(title)
    table.add_column("task")
    table.add_column("model")
    first = next(iter(models.values()))
    sure = [m for m in columns if any(f"{m}_low/{task}" in first for task in tasks)]
    for metric in columns:
        table.add_column(COLUMNS[metric][0], justify="right")
        if metric in sure:
            table.add_column(f"{LEVEL:.0%}", justify="right", no_wrap=True)
    for task in tasks:
        positives = first.get(f"positives/{task}")
        heads = [task, "" if positives is None else f"{positives:,.0f} positives"]
        for row, (model, metrics) in enumerate(models.items()):
            cells: list[str] = []
            for metric in columns:
                cells.append(metric_cell(metric, metrics.get(f"{metric}/{task}")))
                if metric in sure:
                    cells.append(_interval_cell(metric, task, metrics))
            head = heads[row] if row < len(heads) else ""
            table.add_row(head, model, *cells, style="bold" if row == 0 else "dim")
        table.add_section()
    if not sure:
        return Group(table)
    note = (
        f"{LEVEL:.0%}: what other users would change, from {first['units']:,.0f} groups (rows "
        "without `data.group`); what other seeds would change comes on top"
    )
    return Group(table, Text(note, style="dim italic"))


def health(experts: Health) -> Table:
    """A line for each gated level: the worst of each statistic, red beyond its alarm."""
    table = empty_table(f"Experts on {experts.rows:,} rows")
    for heading in ("level", "experts", *(heading for heading, _, _ in HEALTH.values())):
        table.add_column(heading, justify="right")
    for level in experts.levels:
        worst = experts.worst(level)
        cells = [_health_cell(name, worst[name]) for name in HEALTH]
        table.add_row(str(level.number), str(len(level.owners)), *cells)
    return table


PUT_RIGHT = {
    "log_loss": COLUMNS["log_loss"],
    "ece": ("ECE", "{:.4f}"),
    "calibration": COLUMNS["calibration"],
    "deviance": COLUMNS["deviance"],
    "rmse": COLUMNS["rmse"],
}
"""Metric that calibration is for to heading and format."""


def calibration(tasks: Sequence[str], before: Metrics, after: Metrics) -> Table:
    """A line for each task: its metrics before scores were calibrated, and as they are served."""
    table = empty_table("Before and after calibration")
    table.add_column("task")
    shown = [m for m in PUT_RIGHT if any(after.get(f"{m}/{task}") is not None for task in tasks)]
    for metric in shown:
        table.add_column(PUT_RIGHT[metric][0] + "\nbefore", justify="right", style="dim")
        table.add_column("\nafter", justify="right")
    for task in tasks:
        sides = ((m, side.get(f"{m}/{task}")) for m in shown for side in (before, after))
        table.add_row(task, *("" if v is None else PUT_RIGHT[m][1].format(v) for m, v in sides))
    return table


DOUBTFUL = 20
"""Segments that are shown."""


def segments(found: pl.DataFrame) -> Group:
    """A line for each of the most doubtful segments, red where chance does not explain it."""
    table = empty_table("Calibration by segment")
    for heading in ("task", "feature", "value"):
        table.add_column(heading)
    for heading in ("rows", "users", "mean score", "mean label", "p, adjusted"):
        table.add_column(heading, justify="right")
    for row in found.head(DOUBTFUL).iter_rows(named=True):
        cells = [row["task"], row["feature"], row["value"], f"{row['rows']:,}", f"{row['users']:,}"]
        cells += [f"{row['mean_score']:.4g}", f"{row['mean_label']:.4g}", f"{row['adjusted']:.2g}"]
        table.add_row(*cells, style="red" if row["adjusted"] < SEGMENT_P else "")
    note = (
        f"{min(len(found), DOUBTFUL):,} of {len(found):,} segments that are large enough, most "
        "doubtful first; p-values by users, adjusted for the number of all segments (Holm)"
    )
    return Group(table, Text(note, style="dim italic"))


def splits(manifest: Manifest) -> Group:
    """A line for each split: rows, boundary, and the rate of each binary task."""
    table = empty_table("Splits")
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
    gaps = ", ".join(f"{count:,} {why}" for why, count in manifest.rows_dropped.items() if count)
    limits = ", ".join(f"{name} {value}" for name, value in manifest.boundaries.items())
    notes = [f"{manifest.rows_read:,} rows read", f"left out: {gaps}" if gaps else "", limits]
    return Group(table, Text("; ".join(filter(None, notes)), style="dim italic"))


def advice(lines: Sequence[str]) -> Group:
    """A line for each thing to look at before training."""
    return Group(*(Text(line, style="yellow") for line in lines))


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
    table = empty_table("Features")
    for name, heading in columns.items():
        text = name in ("feature", "kind")
        table.add_column(heading, justify="left" if text else "right", no_wrap=True)
    for row in drift.iter_rows(named=True):
        shift = row.get(f"psi.{last}", 0.0) > STRONG
        cells = [_feature_cell(name, row[name]) for name in columns]
        table.add_row(*cells, style="red" if shift else "")
    note = f"red: a population stability index (PSI) above {STRONG}, a shift"
    return Group(table, Text(note, style="dim italic"))


def families(title: str, members: Mapping[str, tuple[str, str]]) -> Table:
    """A line for each member of a family: name, what it is, where it comes from."""
    table = empty_table(title)
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
    methods = empty_table("weighting.method")
    for heading in ("name", "made from", "what it is", "source"):
        methods.add_column(heading, overflow="fold")
    for family in dict.fromkeys(config.family for config in WEIGHTINGS.values()):
        for name, config in WEIGHTINGS.items():
            if config.family == family:
                methods.add_row(f"[bold]{name}[/bold]", family, config.summary, config.source)
        methods.add_section()
    beside = {name: (c.summary, c.source) for name, c in REGULARISERS.items()}
    places = empty_table("weighting.gramian.kind")
    for heading in ("name", "what it is"):
        places.add_column(heading, overflow="fold")
    for name, place in GRAMIANS.items():
        places.add_row(f"[bold]{name}[/bold]", place.summary)
    return Group(methods, families("regulariser.kind", beside), places)


def empty_table(title: str) -> Table:
    """With the look of all tables of the command line, and no column yet."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )


def metric_cell(metric: str, value: float | None) -> str:
    """A metric in its own format; a dash where it is undefined."""
    return "-" if value is None else COLUMNS[metric][1].format(value)


def _interval_cell(metric: str, task: str, metrics: Metrics) -> str:
    low, high = (metrics.get(f"{metric}_{end}/{task}") for end in ("low", "high"))
    return "" if low is None else f"{metric_cell(metric, low)} to {metric_cell(metric, high)}"


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
