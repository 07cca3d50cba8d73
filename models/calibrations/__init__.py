"""The calibrations, fewest numbers first: the dictionary is the list of what a task's scores may be
put right by."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.beta import BetaCalibration
from fulcrum.models.calibrations.isotonic import IsotonicCalibration
from fulcrum.models.calibrations.none import NoCalibration
from fulcrum.models.calibrations.offset import OffsetCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.calibrations.scale import ScaleCalibration

CALIBRATIONS: dict[str, type[Calibration]] = {
    "none": NoCalibration,
    "scale": ScaleCalibration,
    "offset": OffsetCalibration,
    "platt": PlattCalibration,
    "beta": BetaCalibration,
    "isotonic": IsotonicCalibration,
}

if TYPE_CHECKING:
    CalibrationChoice = Calibration
else:
    CalibrationChoice = choice(CALIBRATIONS)

__all__ = ["CALIBRATIONS", "Calibration", "CalibrationChoice", "NoCalibration"]
