import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.snapshot import SnapshotConfig
from tests.pipelines.ab.simulation.estimators.contract import EstimatorContract, rows


class TestSnapshot(EstimatorContract):
    def config(self) -> SnapshotConfig:
        return SnapshotConfig()

    def test_no_row_counts(self) -> None:
        weights = self.make().weigh(*rows(0))
        np.testing.assert_array_equal(weights.treatment, 0.0)
        np.testing.assert_array_equal(weights.control, 0.0)
