"""An offset of the logit: a factor on the odds."""

from typing import ClassVar, Literal, Self

import numpy as np

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import Piece, Terms
from fulcrum.models.calibrations.logistic import EVENTS, rarer


class OffsetCalibration(Calibration):
    """z' = z + c with Σ w s(z + c) = Σ w t, s the logistic function: scores add up to what labels
    do. All that a level needs which has moved, as that of a rare task has before others."""

    source: ClassVar = (
        "King and Zeng, Logistic Regression in Rare Events Data, Political Analysis 2001 (prior "
        "correction)"
    )
    links: ClassVar = frozenset({"logit"})

    kind: Literal["offset"] = "offset"
    offset: float
    """c."""

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        from scipy.optimize import brentq

        if rarer(target) < EVENTS:
            return None
        bound = 60 + float(np.abs(value).max())

        def excess(offset: float) -> float:
            return float(weight @ (1 / (1 + np.exp(-(value + offset))) - (target > 0)))

        return cls(offset=brentq(excess, -bound, bound, xtol=1e-9))

    @property
    def terms(self) -> Terms:
        return Terms(self.offset, pieces=(Piece(1.0),))
