"""p-values of several questions asked at once, adjusted so that each is read against alpha."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def holm(p: Sequence[float]) -> list[float]:
    """Keeps the chance of any false claim below alpha (Holm, 1979): for claims.

    The i-th smallest of m counts m - i + 1 times, and none less than a smaller one.
    """
    # SciPy has none, and the one of statsmodels collects garbage at each call, which takes a fifth
    # of a second in a process that holds models.
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return [float(value) for value in np.minimum(adjusted, 1.0)]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Keeps the expected share of false ones among the claims below alpha (Benjamini and Hochberg,
    1995): for exploring."""
    return [float(value) for value in stats.false_discovery_control(p)] if len(p) else []
