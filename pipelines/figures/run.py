"""Pictures of a run as matplotlib figures: plain numbers in, nothing written but by `save`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter

from fulcrum.pipelines.quality.alarms import ALARMS
from fulcrum.pipelines.quality.experts import LevelHealth
from fulcrum.pipelines.quality.reliability import Curve

PALETTE = ("#2a6f97", "#e07a1f", "#3a8f5c", "#b5404a", "#7a5ba6", "#8a6d4b", "#c2679b", "#5f6b76")
INK, FAINT = "#2b2f33", "#c9ced3"
STYLE = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.size": 10,
    "grid.color": "#e8ebee",
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
MARKS = {1: PALETTE[0], 0: "#a9b0b7", -1: PALETTE[3]}
"""Colours of what rises, of what may be either, and of what falls."""
COLUMNS = 3
"""Panels side by side."""
MODERATE, STRONG = 0.1, 0.25
"""Usual reading of the population stability index: below 0.1 stable, above 0.25 a shift."""

Point = tuple[int, Mapping[str, float]]
"""A step and the metrics measured after it."""
Interval = tuple[float, float | None, float | None]
"""A value and the ends of its interval, None where there is none."""


class Bar(NamedTuple):
    """A value, the ends of its interval, None where there is none, and its mark: 1 for a rise, -1
    for a fall."""

    value: float
    low: float | None
    high: float | None
    mark: int = 0


def save(figure: Figure, path: Path) -> Path:
    """Write a picture in the format that the name ends in."""
    figure.set_dpi(130)
    figure.set_facecolor("white")
    if path.suffix == ".png":  # the same pixels as those of `savefig`, which draws twice
        FigureCanvasAgg(figure).print_png(path)
    else:
        figure.savefig(path)
    return path


@matplotlib.rc_context(STYLE)
def training_curves(history: Sequence[Point], best: int | None = None) -> Figure:
    """One panel a kind of metric (the part of its name before `/`), one line a task; the mean over
    tasks in black, the step whose weights were kept as a dotted line."""
    names = list(dict.fromkeys(name for _, metrics in history for name in metrics))
    kinds = list(dict.fromkeys(name.partition("/")[0] for name in names))
    tasks = list(dict.fromkeys(filter(None, (name.partition("/")[2] for name in names))))
    colors = {task: PALETTE[i % len(PALETTE)] for i, task in enumerate(tasks)} | {"": INK}
    figure, panels = _grid(len(kinds), width=4.6, height=3.3)
    for panel, kind in zip(panels, kinds, strict=True):
        for name in (name for name in names if name.partition("/")[0] == kind):
            steps, values = zip(*((s, m[name]) for s, m in history if name in m), strict=True)
            task = name.partition("/")[2]
            panel.plot(
                steps,
                values,
                marker="o",
                markersize=3,
                linewidth=1.6,
                color=colors[task],
                label=task or "all tasks",
            )
        if best is not None:
            panel.axvline(best, color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=_title(kind), xlabel="optimizer step")
        panel.margins(x=0.03)
    _one_legend(figure, panels)
    return figure


@matplotlib.rc_context(STYLE)
def calibration(after: Mapping[str, Curve], before: Mapping[str, Curve]) -> Figure:
    """Per task, the observed rate against the mean score in bins of equal weight with its interval;
    `before` is paler, of the tasks that were calibrated. Perfect calibration lies on the
    diagonal."""
    figure, panels = _grid(len(after), width=3.5, height=3.5)
    for panel, (task, curve) in zip(panels, after.items(), strict=True):
        earlier = before.get(task)
        curves = [curve] if earlier is None else [earlier, curve]
        for shown in curves:
            panel.errorbar(
                shown.mean,
                shown.rate,
                yerr=(shown.rate - shown.low, shown.high - shown.rate),
                fmt="o-",
                markersize=4,
                elinewidth=1,
                color=PALETTE[0] if shown is curve else "#a9b0b7",
                label="calibrated" if shown is curve else "before",
            )
        least = min(min(shown.mean.min(), shown.low.min()) for shown in curves)
        most = max(max(shown.mean.max(), shown.high.max()) for shown in curves)
        pad = 0.05 * (most - least)
        limits = (max(least - pad, 0.0), min(most + pad, 1.0))
        panel.plot(limits, limits, color=INK, linestyle=":", linewidth=1.2)
        panel.set(xlim=limits, ylim=limits, title=task, xlabel="mean score", ylabel="observed rate")
        panel.set_aspect("equal")
        ratios = " from ".join(f"{_ratio(shown):.3f}" for shown in reversed(curves))
        text = f"Σ score / Σ label = {ratios}"
        panel.text(0.04, 0.95, text, transform=panel.transAxes, va="top", fontsize=8)
    if before:
        _one_legend(figure, panels)
    return figure


def _ratio(curve: Curve) -> float:
    """Mean score over mean label."""
    return float(curve.share @ curve.mean / max(curve.share @ curve.rate, 1e-9))


@matplotlib.rc_context(STYLE)
def gain(metric: str, tasks: Sequence[str], models: Mapping[str, Sequence[float]]) -> Figure:
    """One line a task and model, from the first model's value (the baseline) to the model's own."""
    figure = Figure(figsize=(7.5, 1.3 + 0.28 * len(tasks) * len(models)), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", visible=False)
    (name, baseline), *others = models.items()
    axes.scatter(baseline, range(len(tasks)), marker="|", s=260, color=INK, label=name, zorder=3)
    for row, (model, values) in enumerate(others):
        places = np.arange(len(tasks)) + (row - (len(others) - 1) / 2) * 0.6 / len(others)
        color = PALETTE[row % len(PALETTE)]
        axes.hlines(places, baseline, values, color=color, linewidth=2)
        axes.scatter(values, places, color=color, s=36, label=model, zorder=3)
        for value, place in zip(values, places, strict=True):
            axes.annotate(
                f"{value:.3f}", (value, place), (7, 0), textcoords="offset points", va="center"
            )
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.set_title(f"{_title(metric)} by task, on the test split")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@matplotlib.rc_context({**STYLE, "font.size": 8, "axes.titlesize": 9})
def seesaw(
    tasks: Sequence[str], networks: Mapping[str, Mapping[str, Bar]], relevant: float
) -> Figure:
    """A panel a task with a scale of its own, a bar a network: its gain over single-task in per
    cent, with the interval. Blue rises, red falls, grey may be either. The band is what is not
    relevant, and no scale is finer than twice that."""
    figure, panels = _grid(len(tasks), width=3.0, height=0.6 + 0.125 * max(len(networks), 3))
    for number, (panel, task) in enumerate(zip(panels, tasks, strict=True)):
        panel.grid(axis="y", visible=False)
        for place, bars in enumerate(networks.values()):
            if task not in bars:
                panel.text(0, place, "not defined", ha="center", va="center", fontsize=7)
                continue
            value, low, high, mark = bars[task]
            panel.barh(place, value, color=MARKS[mark], height=0.7)
            if low is not None and high is not None:
                panel.hlines(place, low, high, color=INK, linewidth=0.9)
        panel.axvline(0, color=INK, linewidth=0.9)
        if relevant:
            panel.axvspan(-relevant, relevant, color=FAINT, alpha=0.35, linewidth=0)
        left, right = panel.get_xlim()
        panel.set_xlim(min(left, -2 * relevant), max(right, 2 * relevant))
        panel.set_yticks(range(len(networks)), list(networks))
        panel.tick_params(labelleft=number % COLUMNS == 0, length=0)
        panel.set(title=task, ylim=(len(networks) - 0.5, -0.5))
    figure.supxlabel("gain over single-task, % of its value", fontsize=8)
    return figure


@matplotlib.rc_context(STYLE)
def front(points: Mapping[str, tuple[float, float]], best: Collection[str]) -> Figure:
    """Mean gain in per cent against operations per row, by network; `best` are on the front."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    costs = [flops for flops, _ in points.values()]
    axes.set_xscale("log" if max(costs) > 20 * min(costs) else "linear")
    axes.xaxis.set_major_formatter(EngFormatter())
    line = sorted(point for name, point in points.items() if name in best)
    axes.step(*zip(*line, strict=True), where="post", color=PALETTE[0], linewidth=1.2, alpha=0.6)
    for name, (flops, percent) in points.items():
        color = PALETTE[0] if name in best else PALETTE[-1]
        axes.scatter(flops, percent, color=color, s=36, zorder=3)
    axes.axhline(0, color=INK, linestyle=":", linewidth=1.2)
    axes.margins(x=0.14, y=0.1)
    axes.set(
        title="Mean gain over single-task against cost",
        xlabel="operations per row scored",
        ylabel="mean gain, % of single-task's value",
    )
    _label_apart(figure, points, best)
    return figure


def _label_apart(
    figure: Figure, points: Mapping[str, tuple[float, float]], best: Collection[str]
) -> None:
    """A name beside each point, moved up until it lies on no other name."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    width, height = 5.6, 11.0
    labels: list[tuple[float, float, float]] = []
    for name, point in sorted(points.items(), key=lambda item: item[1][1]):
        x, y = axes.transData.transform(point) * 72 / figure.dpi
        end = x + 8 + width * len(name)
        free = y
        for left, right, used in sorted(labels, key=lambda label: label[2]):
            if left < end and x < right and abs(free - used) < height:
                free = used + height
        labels.append((x, end, free))
        axes.annotate(
            name,
            point,
            (7, free - y),
            textcoords="offset points",
            va="center",
            fontsize=9,
            weight="bold" if name in best else "normal",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


@matplotlib.rc_context(STYLE)
def drift(psi: Mapping[str, float], top: int = 30) -> Figure:
    """The features that moved most between two splits, by population stability index."""
    ranked = sorted(psi.items(), key=lambda item: -item[1])
    largest = ranked[:top]
    figure = Figure(figsize=(7.5, 1.4 + 0.24 * len(largest)), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", visible=False)
    colors = [
        PALETTE[3] if v > STRONG else PALETTE[1] if v > MODERATE else PALETTE[0] for _, v in largest
    ]
    bars = axes.barh(range(len(largest)), [v for _, v in largest], color=colors, height=0.7)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8, path_effects=halo)
    axes.set_yticks(range(len(largest)), [name for name, _ in largest], fontsize=9)
    axes.set_ylim(len(largest) - 0.4, -0.6)
    highest = max([v for _, v in largest], default=0.0)
    axes.set_xlim(0, max(highest * 1.15, MODERATE * 1.2))
    for line in (MODERATE, STRONG):
        if line < axes.get_xlim()[1]:
            axes.axvline(line, color=INK, linestyle=":", linewidth=1.2)
    more = f" (top {top} of {len(ranked)})" if len(ranked) > top else ""
    axes.set(title=f"Drift from training to test{more}", xlabel="population stability index")
    return figure


@matplotlib.rc_context(STYLE)
def health(levels: Sequence[LevelHealth]) -> Figure:
    """A row a level: mean gate weights, each expert's share of what reaches an output, zero rates
    and sizes of experts. What is beyond its alarm is red."""
    widest = max(len(level.owners) for level in levels)
    tallest = [max(1.9, 1.3 + 0.3 * len(level.outputs)) for level in levels]
    figure = Figure(figsize=(4.5 + 4 * min(0.4 * widest, 6.0), sum(tallest)), layout="constrained")
    rows = figure.subplots(len(levels), 4, squeeze=False, height_ratios=tallest)
    for level, (gates, contributions, zeros, sizes) in zip(levels, rows, strict=True):
        _matrix(gates, level.gate, level, f"Level {level.number}: gate weight")
        reach = level.contribution / np.maximum(level.contribution.sum(1, keepdims=True), 1e-30)
        _matrix(contributions, reach, level, "Contribution")
        contributions.tick_params(left=False, labelleft=False)
        limit = ALARMS["zero_rate"]
        _bars(zeros, level.zero_rate, level.zero_rate > limit, level, "Zero rate")
        zeros.axhline(limit, color=INK, linestyle=":", linewidth=1.2)
        zeros.set_ylim(0, 1)
        small = level.size * ALARMS["scale_ratio"] < level.size.max()
        _bars(sizes, level.size, small, level, "Mean |output|")
    return figure


@matplotlib.rc_context(STYLE)
def affinity(tasks: Sequence[str], cosines: np.ndarray, groups: Sequence[Sequence[int]]) -> Figure:
    """A matrix with the tasks of a group (their places) side by side, groups framed; agreement
    blue, conflict red, NaN white."""
    order = [task for members in groups for task in members]
    ordered = cosines[np.ix_(order, order)]
    side = 1.8 + 0.55 * len(order)
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    drawn = axes.imshow(np.ma.masked_invalid(ordered), cmap="RdBu", vmin=-1, vmax=1)
    for row, column in np.argwhere(~np.isnan(ordered)):
        value = ordered[row, column]
        color = "white" if abs(value) > 0.6 else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    start = -0.5
    for members in groups:
        corner, size = (start, start), len(members)
        axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=INK, linewidth=2))
        start += size
    names = [tasks[task] for task in order]
    axes.set_xticks(range(len(order)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(order)), names)
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="mean cosine", shrink=0.8)
    return figure


def _matrix(axes: Axes, shares: np.ndarray, level: LevelHealth, title: str) -> None:
    """Shares that sum to 1 by row, an expert out of sight left white."""
    axes.grid(visible=False)
    high = max(float(shares.max()), 2 / shares.shape[1])
    axes.imshow(
        np.ma.masked_where(~level.visible, shares), cmap="Blues", vmin=0, vmax=high, aspect="auto"
    )
    if shares.shape[1] <= 12:
        for row, column in np.argwhere(level.visible):
            value = shares[row, column]
            color = "white" if value > 0.6 * high else INK
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8
            )
    axes.set_yticks(range(len(level.outputs)), level.outputs)
    axes.spines[:].set_visible(False)
    _expert_ticks(axes, level)
    axes.set_title(title)


def _bars(axes: Axes, heights: np.ndarray, red: np.ndarray, level: LevelHealth, title: str) -> None:
    axes.grid(axis="x", visible=False)
    colors = [PALETTE[3] if flag else PALETTE[0] for flag in red]
    axes.bar(range(len(heights)), heights, color=colors, width=0.7)
    axes.set_xlim(-0.6, len(heights) - 0.4)
    _expert_ticks(axes, level)
    axes.set_title(title)


def _expert_ticks(axes: Axes, level: LevelHealth) -> None:
    size = 8 if len(level.owners) <= 12 else 6
    axes.set_xticks(range(len(level.owners)), level.experts, rotation=90, fontsize=size)


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[count:]:
        empty.remove()
    return figure, panels[:count]


def _one_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 7)
    )


def _title(metric: str) -> str:
    names = {"auc": "AUC", "grouped_auc": "Grouped AUC", "rmse": "RMSE", "mae": "MAE"}
    return names.get(metric, metric.replace("_", " ").capitalize())
