"""Novelty: does the effect change from day to day?"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.users import Users


@dataclass(frozen=True)
class Trend:
    """The effect of each day, and its change per day."""

    days: np.ndarray
    """`(days,)` those on which both arms have two or more users."""
    effects: np.ndarray
    """`(days,)` difference of that day's values, sum over sum."""
    low: np.ndarray
    """`(days,)` ends of each day's own interval."""
    high: np.ndarray
    slope: float
    """Change of the effect per day."""
    se: float
    slope_low: float
    slope_high: float
    p_value: float


def trend(
    numerator: np.ndarray,
    denominator: np.ndarray,
    units: np.ndarray,
    days: np.ndarray,
    treated: np.ndarray,
    alpha: float = 0.05,
) -> Trend:
    """Weighted least squares of the daily effects on the day.

    All `(entries,)`, one entry per unit and day. A day weighs 1 / (1 / n_C + 1 / n_T) by its units.
    Units come back, so days are not independent: a unit's part in the slope is the sum of its
    delta-method residuals, each times its day's part in the slope, and the variance of the slope is
    the sum of the squares of these (errors clustered by unit). Normal quantiles. Raises DataError
    below three days, or where nothing varies.
    """
    dates, codes = np.unique(days, return_inverse=True)
    _, owners = np.unique(units, return_inverse=True)
    arms = [~treated, treated]
    sizes = np.stack([np.bincount(codes[arm], minlength=len(dates)) for arm in arms])
    keep = np.flatnonzero((sizes >= 2).all(axis=0))
    if len(keep) < 3:
        raise DataError(
            f"{len(keep)} days with two or more users in both arms; a trend needs three or more"
        )
    weights = 1 / (1 / sizes[:, keep]).sum(axis=0)
    when = dates[keep].astype(float)
    away = when - np.average(when, weights=weights)
    parts = weights * away / (weights @ away**2)
    effects, errors = np.zeros(len(keep)), np.zeros(len(keep))
    influence = np.zeros(owners.max() + 1)
    for place, day in enumerate(keep):
        for arm, sign in zip(arms, (-1, 1), strict=True):
            chosen = arm & (codes == day)
            users = Users(numerator[chosen], denominator[chosen])
            if users.denominator.sum() == 0:
                raise DataError(f"day {dates[day]}: the metric's denominator is 0 for all users")
            effects[place] += sign * users.value
            errors[place] = np.hypot(errors[place], users.se)
            shares = sign * parts[place] * users.residuals / len(users)
            np.add.at(influence, owners[chosen], shares)
    se = float(np.sqrt((influence**2).sum()))
    if se == 0:
        raise DataError("the metric is constant; without variation there is no trend")
    slope = float(parts @ effects)
    z = float(stats.norm.ppf(1 - alpha / 2))
    return Trend(
        dates[keep],
        effects,
        effects - z * errors,
        effects + z * errors,
        slope,
        se,
        slope - z * se,
        slope + z * se,
        float(2 * stats.norm.sf(abs(slope) / se)),
    )
