"""The designs of an A/B test's training data: the dictionary is the list of what
`experiment_design.design` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.pipelines.designs.base import DesignConfig, LoggedRows
from fulcrum.pipelines.designs.pooling import PoolingConfig
from fulcrum.pipelines.designs.snapshot import SnapshotConfig
from fulcrum.pipelines.designs.splitting import SplittingConfig
from fulcrum.pipelines.designs.weighted import WeightedConfig

DESIGNS: dict[str, type[DesignConfig]] = {
    "weighted": WeightedConfig,
    "pooling": PoolingConfig,
    "splitting": SplittingConfig,
    "snapshot": SnapshotConfig,
}
add_plugins(DESIGNS, "designs", DesignConfig, "design")

if TYPE_CHECKING:
    DesignChoice = DesignConfig
else:
    DesignChoice = choice(DESIGNS, "design", DesignConfig)

__all__ = ["DESIGNS", "DesignChoice", "DesignConfig", "LoggedRows"]
