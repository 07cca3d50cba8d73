"""The weightings: the dictionary is the list of what `weighting.method` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from models.weightings.static import StaticConfig
from models.weightings.uncertainty import UncertaintyConfig
from models.weightings.upgrad import UPGradConfig

WEIGHTINGS: dict[str, type[WeightingConfig]] = {
    "static": StaticConfig,
    "uncertainty": UncertaintyConfig,
    "upgrad": UPGradConfig,
}

if TYPE_CHECKING:
    WeightingChoice = WeightingConfig
else:
    WeightingChoice = choice(WEIGHTINGS, "method")

__all__ = [
    "WEIGHTINGS",
    "Declared",
    "Setting",
    "StaticConfig",
    "Weighting",
    "WeightingChoice",
    "WeightingConfig",
]
