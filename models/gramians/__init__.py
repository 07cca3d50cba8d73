"""Where task gradients are compared: the dictionary is the list of what
`weighting.gramian.kind` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.models.gramians.base import GramianConfig, Graph
from fulcrum.models.gramians.batch_sum import BatchSumConfig
from fulcrum.models.gramians.per_sample import PerSampleConfig
from fulcrum.models.gramians.rows import RowsConfig
from fulcrum.models.gramians.sketch import SketchConfig

GRAMIANS: dict[str, type[GramianConfig]] = {
    "sketch": SketchConfig,
    "rows": RowsConfig,
    "batch_sum": BatchSumConfig,
    "per_sample": PerSampleConfig,
}

if TYPE_CHECKING:
    GramianChoice = GramianConfig
else:
    GramianChoice = choice(GRAMIANS)

__all__ = ["GRAMIANS", "GramianChoice", "GramianConfig", "Graph", "SketchConfig"]
