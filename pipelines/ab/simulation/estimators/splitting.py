"""Each model learns from the rows of its own arm."""

from typing import Literal

import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.base import Estimator, EstimatorConfig, Weights


class Splitting(Estimator):
    def __init__(self, share: float) -> None:
        self.share = np.float32(share)

    def weigh(self, videos: np.ndarray, treated: np.ndarray) -> Weights:
        treatment = treated.astype(np.float32)
        return Weights(treatment / self.share, (1 - treatment) / (1 - self.share))


class SplittingConfig(EstimatorConfig):
    """W_T = Z / p, W_C = (1 - Z) / (1 - p)."""

    design: Literal["splitting"] = "splitting"

    def build(self, replications: int, width: int, share: float, seed: int) -> Estimator:
        return Splitting(share)
