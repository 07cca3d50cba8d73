"""The picture of a study in the loop: where each design's estimates lie beside the truth."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE


@matplotlib.rc_context(STYLE)
def distributions(
    rows: Sequence[tuple[str, Mapping[str, float], Mapping[str, np.ndarray]]],
) -> Figure:
    """One row of panels a study and one panel a metric: each design's estimates as dots with their
    mean, the truth as a line. A study is its title, the truth by metric, and by design the
    estimates `(replications, metrics)`."""
    metrics = list(rows[0][1])
    size = (4.2 * len(metrics), 0.6 + 2.4 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), len(metrics), squeeze=False)
    random = np.random.default_rng(0)
    for line, (title, truth, estimates) in zip(panels, rows, strict=True):
        for place, (panel, metric) in enumerate(zip(line, metrics, strict=True)):
            panel.axvline(truth[metric], color=INK, linewidth=1.4)
            for height, values in enumerate(estimates.values()):
                color = PALETTE[height % len(PALETTE)]
                column = values[:, place]
                jitter = height + random.uniform(-0.22, 0.22, len(column))
                panel.plot(column, jitter, ".", color=color, alpha=0.45, markersize=4)
                panel.plot(column.mean(), height, "|", color=color, markersize=22, mew=2.6)
            panel.set_yticks(range(len(estimates)), list(estimates) if place == 0 else [])
            panel.invert_yaxis()
            panel.set_title(f"{metric}, {title}")
            panel.grid(axis="y", visible=False)
    figure.supxlabel("treatment minus control; the line is the global treatment effect", size=10)
    return figure
