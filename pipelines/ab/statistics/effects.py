"""The effect of a treatment on a metric, with the interval that users justify."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from fulcrum.pipelines.ab.statistics.intervals import proportion, skewness, tasting
from fulcrum.pipelines.ab.statistics.intervals.proportion import Shares
from fulcrum.pipelines.ab.statistics.users import Users, check, constant

CLEAR = 3.0
"""Standard errors from 0 beyond which a value's logarithm is nearly normal."""

Relative = tuple[float | None, float | None, float | None]
"""A relative effect and the ends of its interval, or none of them."""
UNKNOWN: Relative = (None, None, None)
Method = Literal["welch", "newcombe", "larger variance", "bootstrap", "clustered"]


@dataclass(frozen=True)
class Effect:
    """Of treatment against control."""

    control: float
    treatment: float
    difference: float
    se: float
    """Standard error of the difference."""
    low: float
    high: float
    p_value: float
    relative: float | None
    """difference / control; None, as its interval, where the control's value may well be 0."""
    relative_low: float | None
    relative_high: float | None
    n_control: int
    """Users."""
    n_treatment: int
    method: Method = "welch"
    """How interval and p-value are made."""


def compare(control: Users, treatment: Users, alpha: float = 0.05) -> Effect:
    """Difference of the arms' values, sum over sum, with its 1 - `alpha` interval.

    Welch's t over users; a ratio by the delta method (Deng, Knoblich and Lu, KDD 2018). Where that
    is not to be trusted, because an arm is constant or has too few users for the metric's skewness
    (`skewness.LIMIT`), a metric of two values has Newcombe's interval (`proportion`), and any other
    one Student's t with the larger variance of the two in both arms. Raises DataError where an arm
    says nothing (`users.check`).
    """
    check(control, "arm `control`")
    check(treatment, "arm `treatment`")
    rare = proportion.shares(control, treatment)
    normal = skewness.normal(control, treatment)
    if rare is not None and (rare.few or not normal):
        return _rare(rare, control, treatment, alpha)
    if not normal or constant(control) or constant(treatment):
        return _larger_variance(control, treatment, alpha)
    return _welch(control, treatment, alpha)


def of_arm(users: Users, alpha: float = 0.05) -> tuple[float, float]:
    """Ends of the interval of an arm's value: normal, or Wilson's where it has few units of one of
    two values."""
    rare = proportion.shares(users, users)
    if rare is not None and rare.few:
        return rare.wilson(alpha)
    half = float(stats.norm.ppf(1 - alpha / 2)) * users.se
    return users.value - half, users.value + half


def _welch(control: Users, treatment: Users, alpha: float) -> Effect:
    """The relative effect has an interval on the log scale where both values are clear of 0, and
    else Fieller's, where that is finite."""
    comparison = tasting.compare(control, treatment, alpha)
    difference = treatment.value - control.value
    errors = control.se, treatment.se
    values = control.value, treatment.value
    se = float(np.hypot(*errors))
    clear = all(abs(v) > CLEAR * e for v, e in zip(values, errors, strict=True))
    relative: Relative
    if clear and values[0] * values[1] > 0 and comparison.relative_low is not None:
        relative = difference / control.value, comparison.relative_low, comparison.relative_high
    else:
        relative = fieller(values, errors, (comparison.high - comparison.low) / 2 / se)
    return Effect(
        *values,
        difference,
        se,
        comparison.low,
        comparison.high,
        comparison.p_value,
        *relative,
        len(control),
        len(treatment),
    )


def _larger_variance(control: Users, treatment: Users, alpha: float) -> Effect:
    """A small arm that has not met the metric's tail, or a constant one, is given the variance of
    the other; one that has met more of it than the other keeps its own."""
    arms = control, treatment
    deviations = [float(arm.residuals.std(ddof=1)) for arm in arms]
    widest = int(np.argmax(deviations))
    errors = [deviations[widest] / np.sqrt(len(arm)) for arm in arms]
    difference, se = treatment.value - control.value, float(np.hypot(*errors))
    freedom = len(arms[widest]) - 1
    quantile = float(stats.t.ppf(1 - alpha / 2, freedom))
    return Effect(
        control.value,
        treatment.value,
        difference,
        se,
        difference - quantile * se,
        difference + quantile * se,
        float(2 * stats.t.sf(abs(difference) / se, freedom)),
        *fieller((control.value, treatment.value), (errors[0], errors[1]), quantile),
        len(control),
        len(treatment),
        "larger variance",
    )


def _rare(rare: Shares, control: Users, treatment: Users, alpha: float) -> Effect:
    """The standard error is a part of the interval's width, for what needs one; relative to so few
    units nothing is said."""
    low, high = rare.interval(alpha)
    return Effect(
        control.value,
        treatment.value,
        treatment.value - control.value,
        (high - low) / 2 / float(stats.norm.ppf(1 - alpha / 2)),
        low,
        high,
        rare.p_value,
        *UNKNOWN,
        len(control),
        len(treatment),
        "newcombe",
    )


def fieller(values: tuple[float, float], errors: tuple[float, float], quantile: float) -> Relative:
    """Interval of treatment / control - 1 from independent values and standard errors, control
    first: all ratios r for which |treatment - r control| is at most `quantile` standard errors
    (Fieller, JRSS B 1954). None unless that is an interval, which it is when the control's value
    lies further than `quantile` standard errors from 0."""
    (control, treatment), (control_variance, treatment_variance) = values, np.square(errors)
    square = quantile**2
    a = control**2 - square * control_variance
    if a <= 0:
        return UNKNOWN
    b = control * treatment
    c = treatment**2 - square * treatment_variance
    half = np.sqrt(b**2 - a * c)
    low, high = (b - half) / a - 1, (b + half) / a - 1
    return treatment / control - 1, float(low), float(high)
