"""The feature kinds: the dictionary is the list of what a YAML file may declare."""

from typing import Annotated

from pydantic import Field

from features.kinds.categorical import CategoricalConfig
from features.kinds.cross import CrossConfig
from features.kinds.expression import ExpressionConfig
from features.kinds.history import HistoryConfig
from features.kinds.multi import MultiConfig
from features.kinds.numeric import NumericConfig
from features.kinds.window import WindowConfig

FeatureConfig = Annotated[
    CategoricalConfig
    | MultiConfig
    | NumericConfig
    | ExpressionConfig
    | CrossConfig
    | WindowConfig
    | HistoryConfig,
    Field(discriminator="kind"),
]
