"""Both models learn from all rows, as they usually do."""

from typing import Literal

import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.base import Estimator, EstimatorConfig, Weights


class Pooling(Estimator):
    def weigh(self, videos: np.ndarray, treated: np.ndarray) -> Weights:
        ones = np.ones(treated.shape, np.float32)
        return Weights(ones, ones)


class PoolingConfig(EstimatorConfig):
    """W = 1."""

    design: Literal["pooling"] = "pooling"

    def build(self, replications: int, width: int, share: float, seed: int) -> Estimator:
        return Pooling()
