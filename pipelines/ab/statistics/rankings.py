"""How far two models order what a unit was shown alike."""

import numpy as np
from scipy import stats

RANKED = 300
"""Units whose rankings are compared: those with most rows."""
TOP = 10
"""Rows at the head of a ranking."""


def rankings(
    one: np.ndarray, other: np.ndarray, unit: np.ndarray
) -> tuple[float | None, float | None]:
    """Mean Kendall's tau, and mean share of common rows among the ten best, over the units with
    most rows; None where no unit has two rows, or more than ten."""
    counts = np.bincount(unit)
    most = np.argsort(-counts, kind="stable")[:RANKED]
    order = np.argsort(unit, kind="stable")
    ends = np.cumsum(counts)
    taus, shares = [], []
    for number in most[counts[most] > 1]:
        rows = order[ends[number] - counts[number] : ends[number]]
        tau = stats.kendalltau(one[rows], other[rows]).statistic
        if np.isfinite(tau):
            taus.append(tau)
        if len(rows) > TOP:
            best = [set(np.argsort(-scores[rows], kind="stable")[:TOP]) for scores in (one, other)]
            shares.append(len(best[0] & best[1]) / TOP)
    return (
        float(np.mean(taus)) if taus else None,
        float(np.mean(shares)) if shares else None,
    )
