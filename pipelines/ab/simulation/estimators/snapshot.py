"""Models stay what they were when the test began."""

from typing import Literal

import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.base import Estimator, EstimatorConfig, Weights


class Snapshot(Estimator):
    def weigh(self, videos: np.ndarray, treated: np.ndarray) -> Weights:
        zeros = np.zeros(treated.shape, np.float32)
        return Weights(zeros, zeros)


class SnapshotConfig(EstimatorConfig):
    """W = 0."""

    design: Literal["snapshot"] = "snapshot"

    def build(self, replications: int, width: int, share: float, seed: int) -> Estimator:
        return Snapshot()
