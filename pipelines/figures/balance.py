"""Pictures of how a run's tasks were balanced, and of what weightings gain."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, Bar, Point

WIDE = 10
"""Largest weight over smallest from which the axis is logarithmic."""
MOMENTS = 6
"""At which conflicts are drawn."""
SATURATED = 10
"""Times the relevant difference at which a colour is full."""
SIGNS = {1: " ▲", 0: "", -1: " ▼"}
WIDTH = 15.0
"""Inches that panels side by side may take."""


@matplotlib.rc_context(STYLE)
def weights(course: Sequence[Point]) -> Figure:
    """The weight of each task over the steps."""
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, task in enumerate(dict.fromkeys(task for _, values in course for task in values)):
        steps, heights = zip(
            *((s, values[task]) for s, values in course if task in values), strict=True
        )
        style = "-" if place < len(PALETTE) else "--"
        axes.plot(
            steps, heights, style, color=PALETTE[place % len(PALETTE)], linewidth=1.6, label=task
        )
    everything = [v for _, values in course for v in values.values()]
    low = min(everything)
    axes.set_yscale("log" if low > 0 and max(everything) > WIDE * low else "linear")
    axes.axhline(1, color=INK, linestyle=":", linewidth=1.2)
    axes.margins(x=0.03)
    axes.set(title="Weight of each task", xlabel="optimizer step")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@matplotlib.rc_context(STYLE)
def conflicts(course: Sequence[Point]) -> Figure:
    """Cosines of the tasks' gradients at a few steps: red pairs pull apart, blue ones agree."""
    moments = [course[i] for i in _spread(len(course), MOMENTS)]
    pairs = dict.fromkeys(pair for _, cosines in moments for pair in cosines)
    tasks = list(dict.fromkeys(task for pair in pairs for task in pair.split("/")))
    columns = min(3, len(moments))
    rows = -(-len(moments) // columns)
    side = 1.2 + 0.42 * len(tasks)
    figure = Figure(figsize=(2.0 + side * columns, 1.6 + side * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[len(moments) :]:
        empty.remove()
    for place, (panel, (step, cosines)) in enumerate(zip(panels, moments, strict=False)):
        cells = np.full((len(tasks), len(tasks)), np.nan)
        for pair, cosine in cosines.items():
            a, b = (tasks.index(task) for task in pair.split("/"))
            cells[a, b] = cells[b, a] = cosine
        names = tasks if place % columns == 0 else [""] * len(tasks)
        image = _heat(panel, cells, 1.0, [[_short(v) for v in row] for row in cells])
        panel.set_yticks(range(len(tasks)), names)
        below = place + columns >= len(moments)
        panel.set_xticks(range(len(tasks)), tasks if below else [""] * len(tasks), rotation=90)
        panel.set_title(f"step {step:,}")
    bar = figure.colorbar(image, ax=panels[: len(moments)], shrink=0.7, ticks=(-1, 0, 1))
    bar.set_label("cosine of gradients")
    return figure


@matplotlib.rc_context(STYLE)
def gains(
    tasks: Sequence[str],
    trunks: Mapping[str, Mapping[str, Mapping[str, Bar]]],
    relevant: float,
) -> Figure:
    """A panel a trunk, a row a network with another weighting: the gain on each task over the same
    trunk with static weights in per cent. Clear ones are marked and coloured, on a scale that ends
    at `SATURATED` times what is relevant, whatever the gains are."""
    width = max(6.0, 2.0 + 0.95 * len(tasks))
    columns = max(1, min(len(trunks), int(WIDTH / width)))
    rows = -(-len(trunks) // columns)
    tall = 1.6 + 0.32 * max(len(networks) for networks in trunks.values())
    figure = Figure(figsize=(width * columns, tall * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[len(trunks) :]:
        empty.remove()
    reach = SATURATED * relevant or 1.0
    for panel, (trunk, networks) in zip(panels, trunks.items(), strict=False):
        cells = np.full((len(networks), len(tasks)), np.nan)
        words = [[""] * len(tasks) for _ in networks]
        for row, bars in enumerate(networks.values()):
            for column, task in enumerate(tasks):
                if task in bars:
                    cells[row, column] = bars[task].value if bars[task].mark else 0.0
                    words[row][column] = _marked(bars[task])
        _heat(panel, cells, reach, words)
        panel.set_aspect("auto")
        panel.set_yticks(range(len(networks)), list(networks))
        panel.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right", rotation_mode="anchor")
        panel.set_title(trunk)
    figure.supxlabel(
        "gain over static weights, % of its value; coloured are clear ones", fontsize=10
    )
    return figure


def _heat(axes: Axes, cells: np.ndarray, reach: float, words: Sequence[Sequence[str]]) -> AxesImage:
    """Numbers as colours, red below 0 and blue above, with words in the cells."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    image = axes.imshow(cells, cmap="RdBu", vmin=-reach, vmax=reach)
    for row, column in np.argwhere(np.isfinite(cells)):
        color = "white" if abs(cells[row, column]) > 0.6 * reach else INK
        axes.text(
            column, row, words[row][column], ha="center", va="center", color=color, fontsize=8
        )
    return image


def _short(cosine: float) -> str:
    return f"{cosine:.2f}".replace("0.", ".") if np.isfinite(cosine) else ""


def _marked(bar: Bar) -> str:
    return f"{bar.value:+.2f}{SIGNS[bar.mark]}"


def _spread(count: int, at_most: int) -> list[int]:
    """Places from the first to the last of `count`, evenly apart."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, at_most))})
