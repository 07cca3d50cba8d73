"""Platt's scaling: a line of the logit."""

from typing import ClassVar, Literal, Self

import numpy as np

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import Piece, Terms
from fulcrum.models.calibrations.logistic import logistic


class PlattCalibration(Calibration):
    """z' = offset + slope · z. Departure: labels are 0 and 1, not drawn towards a half: validation
    splits are large, and the fit is held against rows that it has not seen."""

    source: ClassVar = "Platt, Probabilistic Outputs for Support Vector Machines, 1999, equation 2"
    links: ClassVar = frozenset({"logit"})

    kind: Literal["platt"] = "platt"
    slope: float
    offset: float

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        fitted = logistic(value[:, None], target, weight)
        if fitted is None:
            return None
        (slope,), offset = fitted
        return cls(slope=slope, offset=offset)

    @property
    def terms(self) -> Terms:
        return Terms(self.offset, pieces=(Piece(self.slope),))
