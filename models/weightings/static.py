"""Static: the weights that the YAML states."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from models.weightings.base import WeightingConfig


class StaticConfig(WeightingConfig):
    """Fixed weights, normalised to sum to the number of tasks."""

    source: ClassVar[str] = "linear scalarisation; the control of every weighting paper"
    summary: ClassVar[str] = "fixed weights, equal unless stated: the control"

    method: Literal["static"] = "static"
    weights: dict[str, PositiveFloat] = {}
    """Relative weight by task; 1 for tasks that are not named."""
