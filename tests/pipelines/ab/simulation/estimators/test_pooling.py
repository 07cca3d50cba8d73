import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from tests.pipelines.ab.simulation.estimators.contract import AddsUp, EstimatorContract, rows


class TestPooling(AddsUp, EstimatorContract):
    def config(self) -> PoolingConfig:
        return PoolingConfig()

    def test_every_row_counts_alike(self) -> None:
        weights = self.make().weigh(*rows(0))
        np.testing.assert_array_equal(weights.treatment, 1.0)
        np.testing.assert_array_equal(weights.control, 1.0)
