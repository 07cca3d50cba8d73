"""The fitted calibrations of a run: a file beside the weights that they belong to."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fulcrum.features.cause import cause
from fulcrum.features.errors import ResourceError, StateError
from fulcrum.models.calibrations import Calibration, CalibrationChoice

FILE = "calibration.json"

_DOCUMENT = TypeAdapter(dict[str, CalibrationChoice])


def save(checkpoint: Path, calibrations: Mapping[str, Calibration]) -> None:
    """Write them into the folder of a checkpoint, whole or not at all. Raises ResourceError when
    the disk refuses."""
    temporary, target = checkpoint / f".{FILE}.tmp", checkpoint / FILE
    try:
        temporary.write_bytes(_DOCUMENT.dump_json(dict(calibrations), indent=1))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(f"{target}: could not write it: {error}") from None
    os.replace(temporary, target)


def load(checkpoint: Path) -> dict[str, Calibration] | None:
    """By task; None where nothing was calibrated. Raises StateError for a damaged file."""
    path = checkpoint / FILE
    if not path.exists():
        return None
    try:
        return _DOCUMENT.validate_json(path.read_bytes())
    except ValidationError as error:
        raise StateError(f"{path}: damaged ({cause(error)})") from None
