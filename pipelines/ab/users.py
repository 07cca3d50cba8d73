"""One row a user: the only form in which statistics see a log."""

from dataclasses import dataclass

import numpy as np


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
