"""The picture of importance: groups of features by tasks. Plain numbers in."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fulcrum.pipelines.figures.run import INK, STYLE

TOP = 30
"""Rows drawn."""
LEAST = 0.001
"""Share of the column's largest loss below which a number says no more than about 0."""


@matplotlib.rc_context(STYLE)
def importance(
    groups: Sequence[str],
    metrics: Mapping[str, str],
    losses: np.ndarray,
    shares: np.ndarray,
    clear: np.ndarray,
) -> Figure:
    """A row a group, a column a task (with its metric): what the metric loses. The colour is the
    share of the column's largest loss; what is not told from 0 stays white, its number grey.
    Arrays are `(groups, tasks)`."""
    names = groups[:TOP]
    drawn = np.where(clear, shares, 0.0)[:TOP].clip(0, 1)
    figure = Figure(
        figsize=(2.2 + 0.07 * max(map(len, names)) + 0.95 * len(metrics), 1.5 + 0.3 * len(names)),
        layout="constrained",
    )
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow(drawn, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(drawn.shape):
        dark = drawn[row, column] > 0.6
        color = "white" if dark else INK if clear[row, column] else "#a9b0b7"
        text = f"{losses[row, column]:.2g}" if abs(shares[row, column]) > LEAST else "~0"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    labels = [f"{task}\n{metric.replace('_', ' ')}" for task, metric in metrics.items()]
    axes.set_xticks(range(len(labels)), labels, fontsize=9, rotation=45, ha="left")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    more = f", {TOP} of {len(groups)} groups" if len(groups) > TOP else ""
    axes.set_title(f"What a metric loses when features are shuffled{more}", loc="left")
    return figure
