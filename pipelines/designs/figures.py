"""Pictures of P(arm | row) and of the weights made from it."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fulcrum.pipelines.designs.propensity import Propensity
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, save
from fulcrum.pipelines.quality.reliability import reliability

BINS = np.linspace(0, 1, 41)


def draw(propensity: Propensity, weights: np.ndarray, folder: Path) -> None:
    """Write `reliability.png`, `chance.png` and `weights.png`; `weights` is `(n, arms)`."""
    save(calibration(propensity), folder / "reliability.png")
    save(chances(propensity), folder / "chance.png")
    save(weight_spread(propensity, weights), folder / "weights.png")


@matplotlib.rc_context(STYLE)
def calibration(propensity: Propensity) -> Figure:
    """Per arm, its observed share of rows against the mean chance in bins of equal count, with
    95 % Wilson intervals that take rows for independent."""
    figure = Figure(figsize=(3.5 * len(propensity.names), 3.5), layout="constrained")
    panels = figure.subplots(1, len(propensity.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, propensity.names, strict=True)):
        of_arm = propensity.arm == k
        mean, rate, low, high, _ = reliability(
            propensity.chance[:, k], of_arm.astype(float), np.ones(len(of_arm))
        )
        panel.errorbar(
            mean, rate, yerr=(rate - low, high - rate), fmt="o-", markersize=4, elinewidth=1
        )
        ends = (min(mean.min(), low.min()), max(mean.max(), high.max()))
        panel.plot(ends, ends, color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel="mean chance", ylabel="observed share")
    return figure


@matplotlib.rc_context(STYLE)
def chances(propensity: Propensity) -> Figure:
    """Per arm, how its chance is spread over its own rows and over the others'."""
    figure = Figure(figsize=(4.2 * len(propensity.names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(propensity.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, propensity.names, strict=True)):
        of_arm = propensity.arm == k
        for rows, label in ((of_arm, "own rows"), (~of_arm, "others' rows")):
            panel.hist(propensity.chance[rows, k], BINS, density=True, alpha=0.6, label=label)
        panel.axvline(propensity.shares[k], color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel=f"P({name} | row)", ylabel="density")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def weight_spread(propensity: Propensity, weights: np.ndarray) -> Figure:
    """The weights of every arm over all rows, up to 1 / share."""
    figure = Figure(figsize=(4.2 * len(propensity.names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(propensity.names), squeeze=False)[0]
    for k, (panel, name) in enumerate(zip(panels, propensity.names, strict=True)):
        limit = 1 / propensity.shares[k]
        panel.hist(weights[:, k], BINS * limit, color=PALETTE[k % len(PALETTE)])
        panel.axvline(1.0, color=INK, linestyle=":", linewidth=1.2)
        panel.set(title=f"arm {name}", xlabel="weight", ylabel="rows", xlim=(0, limit))
    return figure
