"""The effect as units came, and day by day."""

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import looks
from fulcrum.pipelines.ab.analysis.facts import Course, Daily
from fulcrum.pipelines.ab.analysis.sentences import level, number, p
from fulcrum.pipelines.ab.log.comparisons import family, treatments
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.plan import SequentialPlan
from fulcrum.pipelines.ab.log.staged import ARM, UNIT, denominator, numerator
from fulcrum.pipelines.ab.log.units import DAY, FIRST, Units
from fulcrum.pipelines.ab.statistics import novelty, sequential

LOOKS = 200
"""Points of the path that are kept."""


def courses(units: Units, experiment: Experiment, metric: str) -> list[Course]:
    """Each arm's way to the interval that is judged. Raises DataError for too few units, and for a
    log without times, which has no order."""
    analysis = experiment.analysis
    assert analysis is not None and isinstance(analysis.plan, SequentialPlan)
    if units.frame[FIRST].null_count():
        raise DataError("the log has no `analysis.log.time`, in whose order units came")
    alpha = family(experiment, analysis.metrics[metric].role).alpha
    arm_courses = []
    for arm in treatments(experiment):
        path = looks.path(units, metric, (experiment.control, arm))
        found = sequential.running(path, alpha, analysis.plan.tuned_for)
        kept = np.unique(np.linspace(0, len(path.users) - 1, LOOKS).round().astype(int))
        ends = float(found.low[-1]), float(found.high[-1])
        arm_courses.append(
            Course(
                arm=arm,
                users=_plain(path.users[kept]),
                difference=_plain(path.difference[kept]),
                low=_plain(found.low[kept]),
                high=_plain(found.high[kept]),
                p=_plain(found.p[kept]),
                alpha=alpha,
                sentence=_course(arm, metric, path, ends, float(found.p[-1]), alpha),
            )
        )
    return arm_courses


def _course(
    arm: str,
    metric: str,
    path: sequential.SamplePath,
    ends: tuple[float, float],
    p_value: float,
    alpha: float,
) -> str:
    """Whether that is a claim is said where the metric is judged."""
    low, high = (number(end, float(path.se[-1]), True) for end in ends)
    out = "it leaves 0" if ends[0] > 0 or ends[1] < 0 else "it holds 0"
    return (
        f"However often one looked: after {path.users[-1]:,.0f} units the effect of {arm} on "
        f"{metric} lies in {low} to {high} ({level(alpha)} at all looks together), {p(p_value)} "
        f"(mSPRT): {out}."
    )


def daily(units: Units, experiment: Experiment, metric: str) -> list[Daily]:
    """The effect of each day and its trend, for each arm. Raises DataError below three days."""
    analysis = experiment.analysis
    assert analysis is not None
    if numerator(metric) not in units.daily.columns:
        raise DataError(f"{metric} takes longer than a day to know")
    counted = units.daily.drop_nulls(numerator(metric))
    trends = []
    for arm in experiment.arms:
        if arm == experiment.control:
            continue
        both = counted.filter(pl.col(ARM).is_in([experiment.control, arm]))
        trend = novelty.trend(
            both[numerator(metric)].to_numpy(),
            both[denominator(metric)].to_numpy(),
            both[UNIT].to_numpy(),
            both["day"].to_numpy(),
            (both[ARM] == arm).to_numpy(),
            analysis.alpha,
        )
        trends.append(
            Daily(
                arm=arm,
                days=tuple(_date(int(day)) for day in trend.days),
                effects=_plain(trend.effects),
                low=_plain(trend.low),
                high=_plain(trend.high),
                slope=trend.slope,
                slope_low=trend.slope_low,
                slope_high=trend.slope_high,
                p_value=trend.p_value,
                retrained=_retrained(units, (experiment.control, arm)),
                sentence=_daily(arm, metric, trend, analysis.alpha),
            )
        )
    return trends


def _daily(arm: str, metric: str, trend: novelty.Trend, alpha: float) -> str:
    slope, low, high = (
        number(value, trend.se, True) for value in (trend.slope, trend.slope_low, trend.slope_high)
    )
    change = (
        "it is not the same at the end as at the beginning, so its mean is no forecast"
        if trend.p_value < alpha
        else "no trend shown"
    )
    return (
        f"From day to day the effect of {arm} on {metric} changes by {slope} ({level(alpha)} "
        f"interval {low} to {high}): {change}."
    )


def _retrained(units: Units, arms: tuple[str, str]) -> tuple[str, ...]:
    days = {day for arm in arms for day in units.retrained.get(arm, ())}
    return tuple(_date(day) for day in sorted(days))


def _date(day: int) -> str:
    return str(np.datetime64(day * DAY, "us").astype("datetime64[D]"))


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
