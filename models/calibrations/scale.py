"""A factor on the mean, for counts and for what was predicted after a logarithm."""

import math
from typing import ClassVar, Literal, Self

import numpy as np

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import Piece, Terms


class ScaleCalibration(Calibration):
    """z' = z + log f with f = Σ w t / Σ w e^z, so that scores add up to what the targets do.

    For a regression after log1p it is smearing: e^z lies below the mean of 1 + label. Departure:
    Duan's factor is the mean of the ratios (1 + label) / e^z, this one the ratio of the means. They
    estimate the same where residuals are spread alike in all rows; this one holds the total where
    they are not, and is the Poisson likelihood's.
    """

    source: ClassVar = "Duan, Smearing Estimate, JASA 1983, equation 2.1"
    links: ClassVar = frozenset({"log"})

    kind: Literal["scale"] = "scale"
    offset: float
    """log f."""

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        total, score = weight @ target, weight @ np.exp(value)
        if not (0 < total < math.inf and 0 < score < math.inf):
            return None
        return cls(offset=math.log(total / score))

    @property
    def terms(self) -> Terms:
        return Terms(self.offset, pieces=(Piece(1.0),))
