"""A quantile as a mean over users: what each user adds to its linear form."""

import numpy as np

from fulcrum.pipelines.ab.statistics.users import Users

Z = 1.96
"""Standard errors of the share below the quantile to either side of it, between which the density
is taken."""


def linear(
    values: np.ndarray, owners: np.ndarray, users: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """`(users,)` numerators and denominators whose sums have the quantile as their ratio.

    values: `(rows,)` finite; owners: `(rows,)` which of the users a row is of, from 0. A user with
    n rows, c of them at most at the quantile Q, has denominator n and numerator
    n Q + (F n - c) / f, with F the share of all rows at most at Q and f the density there: the
    quantile's influence function, summed over the user's rows. The variance of the ratio over users
    is then that of a quantile of rows that hang together within users (Deng, Knoblich and Lu,
    KDD 2018, section 4). 1 / f is the difference of the quantiles `Z` standard errors of F to
    either side of `level`, over that of their levels (Woodruff, JASA 1952), so that no bandwidth is
    chosen; where both are the same value, of the nearest levels whose quantiles differ.
    """
    sizes = np.bincount(owners, minlength=users).astype(float)
    if not len(values):
        return sizes, sizes
    ordered = np.sort(values)
    quantile = float(np.quantile(ordered, level))
    below = np.bincount(owners, values <= quantile, minlength=users)
    share = float(below.sum() / sizes.sum())
    error = Users(below, sizes).se if users > 1 else 0.0
    slope = _inverse_density(ordered, level, Z * error)
    return sizes * quantile + slope * (share * sizes - below), sizes


def _inverse_density(ordered: np.ndarray, level: float, half: float) -> float:
    half = max(half, 1 / len(ordered))
    while True:
        low, high = max(level - half, 0.0), min(level + half, 1.0)
        ends = np.quantile(ordered, [low, high])
        if ends[1] > ends[0] or high - low == 1:
            return float(ends[1] - ends[0]) / (high - low)
        half *= 2
