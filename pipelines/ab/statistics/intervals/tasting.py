"""The one file that speaks to tea-tasting."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tea_tasting.aggr import Aggregates
from tea_tasting.metrics import RatioOfMeans

from fulcrum.pipelines.ab.statistics.users import Users

FAR = 100.0
"""How many times further from 0 than they are apart two arms are moved to be compared."""


@dataclass(frozen=True)
class Comparison:
    """What tea-tasting says of two arms."""

    low: float
    """Of the interval of the difference; by Welch's t, like `p_value`."""
    high: float
    p_value: float
    relative_low: float | None
    """Of the interval of treatment / control - 1, by the delta method on the log scale; None where
    it is wider than a float can say."""
    relative_high: float | None


def compare(control: Users, treatment: Users, alpha: float) -> Comparison:
    """Treatment against control, ratios by the delta method.

    tea-tasting always takes the relative interval, too, and raises OverflowError (or divides by 0)
    where an arm's value is near 0. The difference does not depend on where 0 is: it is then taken
    of arms that are both moved away from it.
    """
    metric = RatioOfMeans(
        "numerator", "denominator", confidence_level=1 - alpha, equal_var=False, use_t=True
    )
    relative: tuple[float, float] | None = None
    try:
        result = metric.analyze_aggregates(_moments(control), _moments(treatment))
        relative = result.rel_effect_size_ci_lower, result.rel_effect_size_ci_upper
        if not np.isfinite(relative).all():
            relative = None
    except (OverflowError, ZeroDivisionError):
        values = abs(control.value) + abs(treatment.value)
        by = FAR * (values + control.se + treatment.se)
        result = metric.analyze_aggregates(
            _moments(_moved(control, by)), _moments(_moved(treatment, by))
        )
    low, high = relative or (None, None)
    return Comparison(
        float(result.effect_size_ci_lower),
        float(result.effect_size_ci_upper),
        float(result.pvalue),
        None if low is None else float(low),
        None if high is None else float(high),
    )


def _moments(users: Users) -> Any:
    (numerator, both), (_, denominator) = np.cov(users.numerator, users.denominator)
    return Aggregates(
        count_=len(users),
        mean_={
            "numerator": float(users.numerator.mean()),
            "denominator": float(users.denominator.mean()),
        },
        var_={"numerator": float(numerator), "denominator": float(denominator)},
        cov_={("numerator", "denominator"): float(both)},
    )


def _moved(users: Users, by: float) -> Users:
    return replace(users, numerator=users.numerator + by * users.denominator)
