"""One row a user: the only form in which statistics see a log."""

from dataclasses import dataclass

import numpy as np

from fulcrum.features.errors import DataError

ROUNDING = 1e-12
"""Variation below this share of the values is none."""


@dataclass(frozen=True)
class Users:
    """One arm, one entry a user (float64). Its value is sum over sum: users are what was dealt to
    arms, so users, and never rows, are what varies."""

    numerator: np.ndarray
    """`(users,)` totals."""
    denominator: np.ndarray
    """`(users,)` ones for a mean."""
    before: np.ndarray | None = None
    """`(users,)` numerator of the pre-period, NaN where the user has no history."""
    before_denominator: np.ndarray | None = None
    """`(users,)` its denominator; None for a mean."""

    def __len__(self) -> int:
        return len(self.numerator)

    def weighted(self, weights: np.ndarray) -> "Users":
        """Each user as so many, `(users,)`: the value is then that of weighted sums."""
        sizes = np.ones(len(self)) if self.before_denominator is None else self.before_denominator
        return Users(
            self.numerator * weights,
            self.denominator * weights,
            None if self.before is None else self.before * weights,
            None if self.before is None else sizes * weights,
        )

    @property
    def value(self) -> float:
        """What the metric is in this arm."""
        return float(self.numerator.sum() / self.denominator.sum())

    @property
    def residuals(self) -> np.ndarray:
        """`(users,)` (Y - R N) / mean(N), the delta method's linear form of the ratio R: its mean
        is 0 and its variance over the number of users is that of R (Deng, Knoblich and Lu,
        KDD 2018)."""
        return (self.numerator - self.value * self.denominator) / self.denominator.mean()

    @property
    def se(self) -> float:
        """Standard error of the value, that is the root of
        (s_Y² - 2 R s_YN + R² s_N²) / (n mean(N)²)."""
        return float(self.residuals.std(ddof=1) / np.sqrt(len(self)))


def check(users: Users, who: str) -> None:
    """Raise DataError for users of whom nothing can be said: fewer than two users, a value that is
    not a number, or nothing in the denominator."""
    if len(users) < 2:
        raise DataError(f"{who} has {len(users)} users; an interval needs two or more")
    bad = ~(np.isfinite(users.numerator) & np.isfinite(users.denominator))
    if bad.any():
        raise DataError(f"{who}: {bad.sum()} of {len(users)} users have a value that is not finite")
    if users.denominator.sum() == 0:
        raise DataError(f"{who}: the metric's denominator is 0 for all {len(users)} users")


def constant(users: Users) -> bool:
    """Whether the value is the same for each user, so that its standard error says nothing."""
    scale = np.abs(users.numerator).max() / np.abs(users.denominator.mean())
    return bool(np.ptp(users.residuals) <= ROUNDING * scale)


def check_varies(users: Users, who: str) -> None:
    """Raise DataError for a constant metric."""
    if constant(users):
        raise DataError(
            f"{who}: the metric is constant, {users.value:g} for each of {len(users)} users; "
            "without variation there is nothing to draw or to explain"
        )
