"""Designs of an experiment in the loop, by name."""

from fulcrum.features.config import choice
from fulcrum.pipelines.ab.simulation.estimators.base import Estimator, EstimatorConfig, Weights
from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from fulcrum.pipelines.ab.simulation.estimators.snapshot import SnapshotConfig
from fulcrum.pipelines.ab.simulation.estimators.splitting import SplittingConfig
from fulcrum.pipelines.ab.simulation.estimators.weighted import WeightedConfig

__all__ = ["ESTIMATORS", "Estimator", "EstimatorChoice", "EstimatorConfig", "Weights"]

ESTIMATORS: dict[str, type[EstimatorConfig]] = {
    "pooling": PoolingConfig,
    "snapshot": SnapshotConfig,
    "splitting": SplittingConfig,
    "weighted": WeightedConfig,
}
EstimatorChoice = choice(ESTIMATORS, tag="design")
