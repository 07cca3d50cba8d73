"""The weightings: the dictionary is the list of what `weighting.method` may name.

With the second method `WeightingUnion` becomes a union discriminated by `method`.
"""

from models.weightings.base import Weighting, WeightingConfig
from models.weightings.static import StaticConfig

WEIGHTINGS: dict[str, type[WeightingConfig]] = {"static": StaticConfig}

WeightingUnion = StaticConfig

__all__ = ["WEIGHTINGS", "Weighting", "WeightingConfig", "WeightingUnion"]
