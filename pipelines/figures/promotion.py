"""The picture of a promotion: what a version gains over what it is measured against."""

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, Interval

BETTER, OPEN, WORSE = PALETTE[0], PALETTE[7], PALETTE[3]


@matplotlib.rc_context(STYLE)
def gains(title: str, bars: Mapping[str, Interval], tolerance: float) -> Figure:
    """A line a task: its gain in per cent and the interval; shaded what may be lost."""
    figure = Figure(figsize=(7.0, 1.3 + 0.34 * len(bars)), layout="constrained")
    axes = figure.subplots()
    if tolerance:
        axes.axvspan(-tolerance, 0, color=INK, alpha=0.08, linewidth=0)
    axes.axvline(0, color=INK, linestyle=":", linewidth=1.2)
    for place, (value, low, high) in enumerate(bars.values()):
        low, high = (value if end is None else end for end in (low, high))
        color = WORSE if high < -tolerance else BETTER if low > 0 else OPEN
        axes.plot((low, high), (place, place), color=color, linewidth=2)
        axes.plot(value, place, "o", color=color)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set(title=title, xlabel="gain, % of what it is measured against")
    return figure
