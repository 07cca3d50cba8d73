"""Pictures of P(arm | row) and of the weights made from it."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fulcrum.pipelines.designs.propensity import Propensity
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, reliability, save

BINS = np.linspace(0, 1, 41)


def draw(found: Propensity, weights: np.ndarray, folder: Path) -> None:
    """Write `reliability.png`, `chance.png` and `weights.png`; `weights` is `(n, arms)`."""
    save(calibrated(found), folder / "reliability.png")
    save(chances(found), folder / "chance.png")
    save(weighed(found, weights), folder / "weights.png")


@matplotlib.rc_context(STYLE)
def calibrated(found: Propensity) -> Figure:
    """Per arm, its observed share of rows against the mean chance in bins of equal count, with
    95 % Wilson intervals that take rows for independent."""
    figure = Figure(figsize=(3.5 * len(found.names), 3.5), layout="constrained")
    panels = figure.subplots(1, len(found.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, found.names, strict=True)):
        own = found.arm == k
        mean, rate, low, high = reliability(found.chance[:, k], own, np.ones(len(own)), 10)
        panel.errorbar(
            mean, rate, yerr=(rate - low, high - rate), fmt="o-", markersize=4, elinewidth=1
        )
        ends = (min(mean.min(), low.min()), max(mean.max(), high.max()))
        panel.plot(ends, ends, color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel="mean chance", ylabel="observed share")
    return figure


@matplotlib.rc_context(STYLE)
def chances(found: Propensity) -> Figure:
    """Per arm, how its chance is spread over its own rows and over the others'."""
    figure = Figure(figsize=(4.2 * len(found.names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(found.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, found.names, strict=True)):
        for own, label in ((True, "own rows"), (False, "others' rows")):
            chosen = found.chance[(found.arm == k) == own, k]
            panel.hist(chosen, BINS, density=True, alpha=0.6, label=label)
        panel.axvline(found.shares[k], color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel=f"P({name} | row)", ylabel="density")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def weighed(found: Propensity, weights: np.ndarray) -> Figure:
    """The weights of every arm over all rows, up to 1 / share."""
    figure = Figure(figsize=(4.2 * len(found.names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(found.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, found.names, strict=True)):
        limit = 1 / found.shares[k]
        panel.hist(weights[:, k], BINS * limit, color=PALETTE[k % len(PALETTE)])
        panel.axvline(1.0, color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel="weight", ylabel="rows", xlim=(0, limit))
    return figure
