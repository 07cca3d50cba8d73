"""Several instances of each arm's model: the interval that knows that models learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fulcrum.features.errors import DataError


@dataclass(frozen=True)
class Replicated:
    """What the instances agree on."""

    difference: float
    low: float
    high: float
    p_value: float
    spread: float
    """Standard deviation over instances, of one difference."""
    instances: int


def replicated(
    differences: Sequence[float], alpha: float = 0.05, within: float = 0.0
) -> Replicated:
    """Student's t over the differences of pairs of instances, each with its own seed, training and
    users, one degree of freedom less than there are pairs.

    Each difference holds the chance of its users and of its models' training; an interval over the
    users of one model takes that model for given. Where all are equal, as in a metric of which all
    units are alike, `within` stands in for their variance: what a difference varies by its users.
    Raises DataError for fewer than two differences, or for equal ones without it.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        raise DataError(f"{len(values)} instances per arm; their spread needs two or more")
    if not np.isfinite(values).all():
        raise DataError("the difference of an instance is not finite")
    spread = float(values.std(ddof=1)) if np.ptp(values) > 0 else float(np.sqrt(within))
    if spread == 0:
        raise DataError(f"all {len(values)} instances differ by {values[0]:g}; expected a spread")
    mean, error = float(values.mean()), spread / np.sqrt(len(values))
    law = stats.t(len(values) - 1, mean, error)
    low, high = law.interval(1 - alpha)
    p_value = 2 * min(law.cdf(0), law.sf(0))
    return Replicated(mean, float(low), float(high), float(p_value), spread, len(values))
