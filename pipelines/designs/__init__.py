"""The designs of an A/B test's training data: the dictionary is the list of what
`weighting_by.design` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from pipelines.designs.base import DesignConfig, Logged
from pipelines.designs.pooling import PoolingConfig
from pipelines.designs.snapshot import SnapshotConfig
from pipelines.designs.splitting import SplittingConfig
from pipelines.designs.weighted import WeightedConfig

DESIGNS: dict[str, type[DesignConfig]] = {
    "weighted": WeightedConfig,
    "pooling": PoolingConfig,
    "splitting": SplittingConfig,
    "snapshot": SnapshotConfig,
}

if TYPE_CHECKING:
    DesignChoice = DesignConfig
else:
    DesignChoice = choice(DESIGNS, "design")

__all__ = ["DESIGNS", "DesignChoice", "DesignConfig", "Logged"]
