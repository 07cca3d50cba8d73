import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.splitting import SplittingConfig
from tests.pipelines.ab.simulation.estimators.contract import AddsUp, EstimatorContract, rows


class TestSplitting(AddsUp, EstimatorContract):
    def config(self) -> SplittingConfig:
        return SplittingConfig()

    def test_rows_of_the_other_arm_do_not_count(self) -> None:
        videos, treated = rows(0)
        weights = self.make(share=0.25).weigh(videos, treated)
        np.testing.assert_array_equal(weights.treatment, np.where(treated, 1 / 0.25, 0))
        np.testing.assert_allclose(weights.control, np.where(treated, 0, 1 / 0.75), rtol=1e-6)
