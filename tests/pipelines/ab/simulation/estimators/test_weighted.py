import numpy as np

from fulcrum.pipelines.ab.simulation.estimators.weighted import WeightedConfig
from tests.pipelines.ab.simulation.estimators.contract import SHARE, AddsUp, EstimatorContract, rows


class TestWeighted(AddsUp, EstimatorContract):
    def config(self) -> WeightedConfig:
        return WeightedConfig()

    def test_starts_as_pooling(self) -> None:
        """A classifier that knows nothing says the share, so every weight is 1."""
        weights = self.make().weigh(*rows(0, apart=5.0))
        np.testing.assert_allclose(weights.treatment, 1.0, rtol=1e-6)
        np.testing.assert_allclose(weights.control, 1.0, rtol=1e-6)

    def test_stays_pooling_during_the_delay(self) -> None:
        design = WeightedConfig(delay=4).build(3, 5, SHARE, 0)
        weights = [design.weigh(*rows(step, apart=5.0)) for step in range(6)]
        for weight in weights[:4]:
            np.testing.assert_allclose(weight.treatment, 1.0, rtol=1e-6)
        assert np.abs(weights[4].treatment - 1).max() > 0.1

    def test_becomes_splitting_where_arms_show_nothing_in_common(self) -> None:
        videos, treated = rows(500, apart=50.0)
        design = self.make()
        for step in range(200):
            design.weigh(*rows(step, apart=50.0))
        weights = design.weigh(videos, treated)
        np.testing.assert_allclose(weights.treatment, treated / SHARE, atol=0.2)
        np.testing.assert_allclose(weights.control, ~treated / (1 - SHARE), atol=0.2)

    def test_stays_near_pooling_where_arms_show_the_same(self) -> None:
        """An honest classifier of equal arms loses as much as the entropy of the deal."""
        design = WeightedConfig(lr=1e-3).build(3, 5, 0.5, 0)
        random = np.random.default_rng(0)
        bits = []
        for _ in range(300):
            videos = random.normal(size=(3, 128, 5)).astype(np.float32)
            design.weigh(videos, random.random((3, 128)) < 0.5)
            bits.append(design.facts()["log_loss_bits"])
        assert abs(np.mean(bits[150:]) - 1.0) < 0.02
        assert abs(design.facts()["mean_weight"] - 1.0) < 0.05
