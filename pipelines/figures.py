"""Pictures of a run as matplotlib figures: plain numbers in, nothing written but by `save`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

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
MODERATE, STRONG = 0.1, 0.25
"""Usual reading of the population stability index: below 0.1 stable, above 0.25 a shift."""

Point = tuple[int, Mapping[str, float]]
"""A step and the metrics measured after it."""


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    figure.savefig(path, dpi=130, facecolor="white")
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
def calibration(
    scores: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], bins: int = 10
) -> Figure:
    """Per task, the observed rate against the mean score in bins of equal count, with 95 % Wilson
    intervals. Perfect calibration lies on the diagonal."""
    figure, panels = _grid(len(scores), width=3.5, height=3.5)
    for panel, (task, score) in zip(panels, scores.items(), strict=True):
        mean, rate, low, high = reliability(score, labels[task], bins)
        panel.errorbar(
            mean, rate, yerr=(rate - low, high - rate), fmt="o-", markersize=4, elinewidth=1
        )
        ends = np.array([min(mean.min(), low.min()), max(mean.max(), high.max())])
        pad = 0.05 * (ends[1] - ends[0])
        limits = (max(ends[0] - pad, 0.0), min(ends[1] + pad, 1.0))
        panel.plot(limits, limits, color=INK, linestyle=":", linewidth=1.2)
        panel.set(xlim=limits, ylim=limits, title=task, xlabel="mean score", ylabel="observed rate")
        panel.set_aspect("equal")
        ratio = score.sum() / max(labels[task].sum(), 1e-9)
        panel.text(
            0.04, 0.95, f"Σ score / Σ label = {ratio:.3f}", transform=panel.transAxes, va="top"
        )
    return figure


def reliability(
    score: np.ndarray, label: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean score, observed rate and its 95 % Wilson interval, in up to `bins` bins of equal count,
    by ascending score."""
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    count = np.array([len(part) for part in parts])
    mean = np.array([score[part].mean() for part in parts])
    rate = np.array([label[part].mean() for part in parts])
    z = 1.96
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return mean, rate, np.minimum(middle - half, rate), np.maximum(middle + half, rate)


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


@matplotlib.rc_context(STYLE)
def drift(psi: Mapping[str, float], top: int = 30) -> Figure:
    """The features that moved most between two splits, by population stability index."""
    ranked = sorted(psi.items(), key=lambda item: -item[1])
    shown = ranked[:top]
    figure = Figure(figsize=(7.5, 1.4 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", visible=False)
    colors = [
        PALETTE[3] if v > STRONG else PALETTE[1] if v > MODERATE else PALETTE[0] for _, v in shown
    ]
    bars = axes.barh(range(len(shown)), [v for _, v in shown], color=colors, height=0.7)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8, path_effects=halo)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    highest = max([v for _, v in shown], default=0.0)
    axes.set_xlim(0, max(highest * 1.15, MODERATE * 1.2))
    for line in (MODERATE, STRONG):
        if line < axes.get_xlim()[1]:
            axes.axvline(line, color=INK, linestyle=":", linewidth=1.2)
    more = f" (top {top} of {len(ranked)})" if len(ranked) > top else ""
    axes.set(title=f"Drift from training to test{more}", xlabel="population stability index")
    return figure


@matplotlib.rc_context(STYLE)
def gates(weights: np.ndarray, tasks: Sequence[str]) -> Figure:
    """Mean weight that each task's gate gives each expert: `weights` is `(tasks, experts)`."""
    count = weights.shape[1]
    figure = Figure(figsize=(2.6 + 0.75 * count, 1.6 + 0.45 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    high = max(float(weights.max()), 2 / count)
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=high)
    for (row, column), value in np.ndenumerate(weights):
        color = "white" if value > 0.6 * high else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xticks(
        range(count), [f"expert {e + 1}" for e in range(count)], rotation=30, ha="right"
    )
    axes.spines[:].set_visible(False)
    axes.set_title(f"Mean gate weights (even share {1 / count:.2f})")
    return figure


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
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
