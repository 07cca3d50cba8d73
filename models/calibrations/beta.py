"""Beta calibration: a slope of its own at either end."""

from typing import ClassVar, Literal, Self

import numpy as np

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import Terms
from fulcrum.models.calibrations.logistic import logistic


class BetaCalibration(Calibration):
    """z' = c + a log p - b log(1 - p) with p the score: Platt's scaling where a = b. Departure:
    where a or b would be negative the paper leaves it out; here there is no beta calibration then,
    for a score that stays the same over a range would tie rows."""

    source: ClassVar = "Kull, Silva Filho and Flach, Beta Calibration, AISTATS 2017, equation 4"
    links: ClassVar = frozenset({"logit"})

    kind: Literal["beta"] = "beta"
    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        columns = np.stack([-np.logaddexp(0, -value), np.logaddexp(0, value)], 1)
        fitted = logistic(columns, target, weight)
        if fitted is None:
            return None
        (a, b), c = fitted
        return cls(a=a, b=b, c=c)

    @property
    def terms(self) -> Terms:
        return Terms(self.c, self.a, self.b)
