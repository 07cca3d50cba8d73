"""Designs of an experiment in the loop, by name."""

from features.config import choice
from pipelines.ab.estimators.base import Estimator, EstimatorConfig, Weights
from pipelines.ab.estimators.pooling import PoolingConfig
from pipelines.ab.estimators.snapshot import SnapshotConfig
from pipelines.ab.estimators.splitting import SplittingConfig
from pipelines.ab.estimators.weighted import WeightedConfig

__all__ = ["ESTIMATORS", "Estimator", "EstimatorChoice", "EstimatorConfig", "Weights"]

ESTIMATORS: dict[str, type[EstimatorConfig]] = {
    "pooling": PoolingConfig,
    "snapshot": SnapshotConfig,
    "splitting": SplittingConfig,
    "weighted": WeightedConfig,
}
EstimatorChoice = choice(ESTIMATORS, tag="design")
