"""The effect once more, by drawing users again: the check of what the formulas say."""

from collections.abc import Iterator

import numpy as np

from fulcrum.pipelines.ab.statistics.effects import CLEAR, UNKNOWN, Effect, Relative
from fulcrum.pipelines.ab.statistics.users import Users, check, check_varies

CELLS = 2_000_000
"""Entries drawn at a time: 40 MB."""
GROUPS = 10_000
"""Of an arm's users, that are drawn as one where there are more."""


def compare(
    control: Users, treatment: Users, alpha: float = 0.05, seed: int = 0, draws: int = 2000
) -> Effect:
    """Difference of the arms' values with its percentile interval.

    Users are drawn again with replacement within each arm (Efron and Tibshirani, 1993, chapter
    13). Arms of more than `GROUPS` users are first added up in so many groups at random, which are
    drawn in their place, so that the time does not grow with the log: sums have the same variance
    and skewness, and the standard error is known to 1 / sqrt(2 GROUPS) = .7 %, below the 1.6 % of
    2,000 draws. The p-value is twice the smaller share of draws on either side of 0. Groups and
    draws of an arm come from the first and the second child of `seed`, in that order. Raises
    DataError where an arm says nothing, or is constant: nothing that was not seen can be drawn.
    """
    arms = control, treatment
    for arm, who in zip(arms, ("control", "treatment"), strict=True):
        check(arm, f"arm `{who}`")
        check_varies(arm, f"arm `{who}`")
    generators = np.random.default_rng(seed).spawn(2)
    again = [
        np.concatenate(list(_again(_grouped(users, rng), draws, rng)))
        for users, rng in zip(arms, generators, strict=True)
    ]
    differences = again[1] - again[0]
    ends = [alpha / 2, 1 - alpha / 2]
    low, high = np.quantile(differences, ends)
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    relative: Relative = UNKNOWN
    if abs(control.value) > CLEAR * again[0].std(ddof=1) and again[0].all():
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
        "bootstrap",
    )


def beside(
    formula: Effect, control: Users, treatment: Users, alpha: float, seed: int
) -> Effect | None:
    """The check of a formula; None where that is not the normal interval, because users that were
    not seen are what is missing, and those cannot be drawn."""
    return compare(control, treatment, alpha, seed) if formula.method == "welch" else None


def _grouped(users: Users, rng: np.random.Generator) -> Users:
    """Sums of groups at random, of sizes that differ by one at most."""
    if len(users) <= GROUPS:
        return users
    group = rng.permutation(len(users)) % GROUPS
    return Users(*(np.bincount(group, total) for total in (users.numerator, users.denominator)))


def _again(users: Users, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The arm's value in each draw, some draws at a time; where all denominators are one number
    their sum needs no drawing."""
    step = max(1, CELLS // len(users))
    same = np.ptp(users.denominator) == 0
    for first in range(0, draws, step):
        shape = min(step, draws - first), len(users)
        drawn = rng.integers(len(users), size=shape, dtype=np.int32)
        numerator = users.numerator[drawn].sum(axis=1)
        total = users.denominator
        yield numerator / (total.sum() if same else total[drawn].sum(axis=1))
