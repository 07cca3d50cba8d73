"""The effect once more, by drawing users again: the check of what the formulas say."""

from collections.abc import Iterator

import numpy as np

from fulcrum.pipelines.ab.statistics.effects import CLEAR, UNKNOWN, Effect, Relative
from fulcrum.pipelines.ab.statistics.users import Users, check

CELLS = 2_000_000
"""Entries drawn at a time."""


def compare(
    control: Users, treatment: Users, alpha: float = 0.05, seed: int = 0, draws: int = 2000
) -> Effect:
    """Difference of the arms' values with its percentile interval.

    Users are drawn again with replacement within each arm (Efron and Tibshirani, 1993, chapter
    13): as fast in NumPy as Poisson numbers of copies of each user, and exact. The p-value is twice
    the smaller share of draws on either side of 0. Raises DataError where an arm says nothing.
    """
    check(control, "arm `control`")
    check(treatment, "arm `treatment`")
    generators = np.random.default_rng(seed).spawn(2)
    again = [
        np.concatenate(list(_again(users, draws, rng)))
        for users, rng in zip((control, treatment), generators, strict=True)
    ]
    differences = again[1] - again[0]
    ends = [alpha / 2, 1 - alpha / 2]
    low, high = np.quantile(differences, ends)
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    relative: Relative = UNKNOWN
    if abs(control.value) > CLEAR * again[0].std(ddof=1):
        relative_low, relative_high = np.quantile(differences / again[0], ends)
        value = treatment.value / control.value - 1
        relative = value, float(relative_low), float(relative_high)
    return Effect(
        control.value,
        treatment.value,
        treatment.value - control.value,
        float(differences.std(ddof=1)),
        float(low),
        float(high),
        min(1.0, 2 * (1 + int(min(below, above))) / (1 + draws)),
        *relative,
        len(control),
        len(treatment),
    )


def _again(users: Users, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The arm's value in each draw, some draws at a time."""
    totals = users.numerator, users.denominator
    step = max(1, CELLS // len(users))
    for first in range(0, draws, step):
        shape = min(step, draws - first), len(users)
        drawn = rng.integers(len(users), size=shape, dtype=np.int32)
        numerator, denominator = (total[drawn].sum(axis=1) for total in totals)
        yield numerator / denominator
