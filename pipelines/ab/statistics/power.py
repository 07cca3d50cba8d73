"""Power: what a test of this size can show, and what size another would need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.power import NormalIndPower

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import sequential

POWER = 0.8


def detectable(se: float, alpha: float = 0.05, power: float = POWER) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`:
    (z_{1-alpha/2} + z_power) se."""
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * se)


def users_needed(
    deviation: float,
    effect: float,
    treated: float = 0.5,
    alpha: float = 0.05,
    power: float = POWER,
) -> int:
    """Users, all arms together, to find a difference of `effect` with probability `power`.

    deviation: standard deviation over users, for a ratio of its linear form (`Users.residuals`);
    treated: share of the users in treatment, the others being in control. Raises DataError unless
    deviation and effect are finite and not 0.
    """
    if not (np.isfinite(effect) and effect != 0):
        raise DataError(f"an effect of {effect:g} needs no test; expected a number other than 0")
    if not (np.isfinite(deviation) and deviation > 0):
        raise DataError("the metric is constant; without variation no number of users can be given")
    control = NormalIndPower().solve_power(
        effect_size=abs(effect) / deviation,
        alpha=alpha,
        power=power,
        ratio=treated / (1 - treated),
    )
    return int(np.ceil(float(np.squeeze(control)) / (1 - treated)))


def users_needed_looking(
    deviation: float,
    effect: float,
    treated: float = 0.5,
    alpha: float = 0.05,
    power: float = POWER,
    tuned_for: int = 5000,
) -> int:
    """The same for a test that is looked at whenever one likes, by `sequential.power`: users until
    whom a difference of `effect` has been shown with probability `power`."""
    once = users_needed(deviation, effect, treated, alpha, power)
    spread = deviation * np.sqrt(1 / treated + 1 / (1 - treated))

    def short(log_users: float) -> float:
        users = max(2, round(np.exp(log_users)))
        error = abs(effect) * np.sqrt(users) / spread
        return power - sequential.power(error, users, alpha, tuned_for)

    low = high = float(np.log(max(once, 2)))
    while short(high) > 0:
        high += float(np.log(2))
    if high == low:
        return once
    return int(np.ceil(np.exp(optimize.brentq(short, low, high, xtol=1e-3))))


@dataclass(frozen=True)
class Days:
    """How long until so many users have come."""

    days: int
    beyond: bool
    """More users than the log has: the days after its end are a guess, at the rate of its second
    half, and too few where newcomers become rarer."""


def days_needed(users: int, growth: Sequence[int], traffic: float = 1.0) -> Days | None:
    """Days until `users` have been seen, of which `traffic` take part.

    growth: different users seen until the end of each day of a historic log. None when the log ends
    too early and gains no users in its second half.
    """
    arrivals = np.asarray(growth, dtype=float) * traffic
    if len(arrivals) == 0:
        raise DataError("the log has no days")
    if arrivals[-1] >= users:
        return Days(int(np.argmax(arrivals >= users)) + 1, beyond=False)
    half = len(arrivals) // 2
    rate = (arrivals[-1] - arrivals[half - 1]) / (len(arrivals) - half) if half else arrivals[-1]
    if rate <= 0:
        return None
    return Days(len(arrivals) + int(np.ceil((users - arrivals[-1]) / rate)), beyond=True)
