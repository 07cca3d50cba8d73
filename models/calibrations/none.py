"""No calibration: scores are right as they are, or nothing says better."""

from typing import ClassVar, Literal, Self

import numpy as np

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import IDENTITY, Terms


class NoCalibration(Calibration):
    """Leaves every score alone."""

    source: ClassVar = ""
    links: ClassVar = frozenset({"logit", "log"})

    kind: Literal["none"] = "none"

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self:
        return cls()

    @property
    def terms(self) -> Terms:
        return IDENTITY
