"""The feature kinds: the dictionary is the list of what a YAML file may declare."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.kinds.base import FeatureKind
from fulcrum.features.kinds.categorical import CategoricalConfig
from fulcrum.features.kinds.cross import CrossConfig
from fulcrum.features.kinds.expression import ExpressionConfig
from fulcrum.features.kinds.history import HistoryConfig
from fulcrum.features.kinds.multi import MultiConfig
from fulcrum.features.kinds.numeric import NumericConfig
from fulcrum.features.kinds.window import WindowConfig
from fulcrum.features.plugins import add_plugins

KINDS: dict[str, type[FeatureKind]] = {
    "categorical": CategoricalConfig,
    "multi": MultiConfig,
    "numeric": NumericConfig,
    "expression": ExpressionConfig,
    "cross": CrossConfig,
    "window": WindowConfig,
    "history": HistoryConfig,
}
add_plugins(KINDS, "kinds", FeatureKind, "kind")

if TYPE_CHECKING:
    FeatureConfig = FeatureKind
else:
    FeatureConfig = choice(KINDS, base=FeatureKind)

__all__ = ["KINDS", "FeatureConfig", "FeatureKind"]
