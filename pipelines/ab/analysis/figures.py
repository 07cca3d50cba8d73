"""Pictures of an analysis as matplotlib figures: facts in, nothing written."""

from collections.abc import Sequence
from datetime import date
from textwrap import fill
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fulcrum.pipelines.ab.analysis.facts import (
    Course,
    Daily,
    Facts,
    Interference,
    SegmentEffect,
    Standing,
)
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE

GREY = "#8b949e"
COLORS: dict[Standing, str] = {"good": PALETTE[0], "bad": PALETTE[3], "undecided": GREY}
"""An interval's colour is what the decision takes it for; the page has the same in words."""
WIDTH = 5.2
"""Inches: the print is still readable on a page of 400 pixels."""
LINE, LABEL = 36, 24
"""Letters in a line of a title, and of the words beside an interval."""


def draw(facts: Facts) -> dict[str, Figure]:
    """Every picture that the facts have something for."""
    drawn = {}
    if facts.judged:
        drawn["effects"] = effects(facts)
    if facts.segments is not None and facts.segments.effects:
        drawn["segments"] = segments(facts.segments.effects, facts.alpha, facts.metrics[0].better)
    if facts.over_time:
        drawn["over_time"] = over_time(facts.over_time)
    if facts.days:
        drawn["days"] = days(facts.days)
    if facts.interference is not None:
        drawn["propensity"] = propensity(facts.interference)
    return drawn


@matplotlib.rc_context(STYLE)
def effects(facts: Facts) -> Figure:
    """A panel a metric, in its own unit: the interval that is judged, of each arm."""
    metrics = [metric for metric in facts.metrics if metric.effects]
    rows = [len(metric.effects) + len(metric.pairs) for metric in metrics]
    figure = Figure(figsize=(WIDTH, sum(0.85 + 0.3 * n for n in rows)), layout="constrained")
    panels = figure.subplots(len(metrics), squeeze=False, height_ratios=[2 + n for n in rows])[:, 0]
    for panel, metric in zip(panels, metrics, strict=True):
        lines = [(one.arm, one.effect, one.standing) for one in metric.effects]
        lines += [
            (f"{one.arm}, to {one.against}", one.effect, one.standing) for one in metric.pairs
        ]
        _forest(panel, lines)
        panel.set_title(fill(f"{metric.name} ({metric.role}, better {metric.better})", LINE))
        margin = metric.effects[0].margin
        if margin is not None:
            edge = -margin if metric.better == "up" else margin
            panel.axvline(edge, color=INK, linestyle="--", linewidth=1.2)
    panels[-1].set_xlabel(f"difference to {facts.control}")
    return figure


@matplotlib.rc_context(STYLE)
def segments(
    segment_effects: Sequence[SegmentEffect], alpha: float, better: Literal["up", "down"]
) -> Figure:
    """The primary metric's effect by segment."""

    def standing(one: SegmentEffect) -> Standing:
        if one.adjusted_p >= alpha:
            return "undecided"
        return "good" if (one.effect.difference > 0) == (better == "up") else "bad"

    figure = Figure(figsize=(WIDTH, 0.9 + 0.26 * len(segment_effects)), layout="constrained")
    axes = figure.subplots()
    several = len({one.arm for one in segment_effects}) > 1
    _forest(
        axes,
        [
            (
                f"{one.segment} {one.value}" + (f", {one.arm}" if several else ""),
                one.effect,
                standing(one),
            )
            for one in segment_effects
        ],
    )
    axes.set_xlabel("difference to control")
    return figure


@matplotlib.rc_context(STYLE)
def over_time(courses: Sequence[Course]) -> Figure:
    """The effect with what all looks so far allow, and the p-value of the mSPRT below."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[2.2, 1])
    for course, color in zip(courses, PALETTE, strict=False):
        upper.fill_between(course.users, course.low, course.high, color=color, alpha=0.18, lw=0)
        upper.plot(course.users, course.difference, color=color, linewidth=1.6, label=course.arm)
        lower.plot(course.users, course.p, color=color, linewidth=1.6)
    upper.axhline(0, color=INK, linewidth=1)
    last = [v for c in courses for v in (*c.low[len(c.low) // 4 :], *c.high[len(c.high) // 4 :])]
    reach = 1.6 * max(map(abs, last))
    upper.set_ylim(-reach, reach)
    upper.set_ylabel("difference to control")
    if len(courses) > 1:
        upper.legend(loc="upper right")
    lower.axhline(courses[0].alpha, color=INK, linestyle=":", linewidth=1.2)
    lower.set(ylim=(0, 1.05), ylabel="p (mSPRT)", xlabel="units that had come")
    lower.xaxis.set_major_locator(MaxNLocator(6))
    lower.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure


@matplotlib.rc_context(STYLE)
def days(trends: Sequence[Daily]) -> Figure:
    """The effect of each day with its own interval, and the trend."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for place, (one, color) in enumerate(zip(trends, PALETTE, strict=False)):
        numbers = np.array([date.fromisoformat(day).toordinal() for day in one.days])
        effect = np.array(one.effects)
        ends = effect - np.array(one.low), np.array(one.high) - effect
        shifted = numbers + 0.12 * place
        axes.errorbar(
            shifted,
            effect,
            yerr=ends,
            fmt="o",
            markersize=4,
            elinewidth=1.2,
            color=color,
            label=one.arm,
        )
        middle = numbers.mean()
        line = effect.mean() + one.slope * (numbers - middle)
        axes.plot(numbers, line, color=color, linestyle="--", linewidth=1.2)
    for day in sorted({day for one in trends for day in one.retrained}):
        axes.axvline(date.fromisoformat(day).toordinal(), color=GREY, linestyle=":", linewidth=1.2)
    axes.axhline(0, color=INK, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(lambda v, _: f"{date.fromordinal(max(int(v), 1)):%-d %b}")
    axes.set_ylabel("difference to control")
    if len(trends) > 1:
        axes.legend(loc="upper right")
    return figure


@matplotlib.rc_context(STYLE)
def propensity(panel: Interference) -> Figure:
    """Where the rows lie between the arms, and whether the model says so rightly."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges = np.linspace(0, 1, len(panel.histogram) + 1)
    left.stairs(panel.histogram, edges, fill=True, color=PALETTE[0], alpha=0.8)
    share = list(panel.shares.values())[1]
    left.axvline(share, color=INK, linestyle=":", linewidth=1.2)
    arm = list(panel.shares)[1]
    left.set(title="Rows by P(arm | row)", xlabel=f"P({arm} | row)", ylabel="share of rows")
    curve = panel.reliability
    predicted, observed = np.array(curve.predicted), np.array(curve.observed)
    ends = observed - np.array(curve.low), np.array(curve.high) - observed
    right.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.2)
    right.errorbar(predicted, observed, yerr=ends, fmt="o-", markersize=4, elinewidth=1)
    right.set(title="Reliability", xlabel="predicted", ylabel="observed")
    right.set(xlim=(0, 1), ylim=(0, 1))
    return figure


def _forest(axes: Axes, lines: Sequence[tuple[str, Effect, Standing]]) -> None:
    axes.grid(axis="y", visible=False)
    for place, (_, effect, standing) in enumerate(lines):
        color = COLORS[standing]
        axes.hlines(place, effect.low, effect.high, color=color, linewidth=2)
        axes.scatter(effect.difference, place, color=color, s=30, zorder=3)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(lines)), [fill(name, LABEL) for name, *_ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.margins(x=0.1)
