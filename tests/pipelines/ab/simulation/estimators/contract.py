"""What every design of a test in the loop promises. Its own test file inherits this."""

import numpy as np
from pydantic import TypeAdapter

from fulcrum.pipelines.ab.simulation.estimators import (
    ESTIMATORS,
    Estimator,
    EstimatorChoice,
    EstimatorConfig,
    Weights,
)

REPLICATIONS, USERS, WIDTH, SHARE = 3, 64, 5, 0.3


def rows(seed: int, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What was shown, and who was treated; the first feature tells how the arms differ."""
    random = np.random.default_rng(seed)
    treated = random.random((REPLICATIONS, USERS)) < SHARE
    videos = random.normal(size=(REPLICATIONS, USERS, WIDTH)).astype(np.float32)
    videos[..., 0] += np.float32(apart) * treated
    return videos, treated


class EstimatorContract:
    """Tests that hold for every design."""

    def config(self) -> EstimatorConfig:
        raise NotImplementedError

    def make(self, share: float = SHARE) -> Estimator:
        return self.config().build(REPLICATIONS, WIDTH, share, 0)

    def follow(self, steps: int, apart: float = 0.0) -> list[Weights]:
        """The weights of so many steps."""
        design = self.make()
        return [design.weigh(*rows(step, apart)) for step in range(steps)]

    def test_is_listed(self) -> None:
        config = self.config()
        assert ESTIMATORS[config.design] is type(config)

    def test_config_round_trips(self) -> None:
        config = self.config()
        adapter = TypeAdapter[EstimatorConfig](EstimatorChoice)
        assert adapter.validate_json(config.model_dump_json()) == config
        assert adapter.validate_python(config.design) == type(config)()

    def test_weights_lie_between_nothing_and_the_inverse_of_the_share(self) -> None:
        for weights in self.follow(20, apart=3.0):
            for weight, share in zip(weights, (SHARE, 1 - SHARE), strict=True):
                assert weight.shape == (REPLICATIONS, USERS)
                assert (weight >= 0).all() and (weight <= (1 + 1e-6) / share).all()

    def test_two_builds_give_the_same(self) -> None:
        for one, other in zip(self.follow(5, 1.0), self.follow(5, 1.0), strict=True):
            np.testing.assert_array_equal(one.treatment, other.treatment)
            np.testing.assert_array_equal(one.control, other.control)

    def test_replications_do_not_touch_each_other(self) -> None:
        """What the second one sees changes nothing for the first."""
        design, other = self.make(), self.make()
        for step in range(5):
            videos, treated = rows(step, 1.0)
            changed, dealt = videos.copy(), treated.copy()
            changed[1], dealt[1] = -changed[1], ~dealt[1]
            weights, again = design.weigh(videos, treated), other.weigh(changed, dealt)
            np.testing.assert_allclose(weights.treatment[0], again.treatment[0], rtol=1e-6)
            np.testing.assert_allclose(weights.control[2], again.control[2], rtol=1e-6)


class AddsUp:
    """For designs that hand out every row: what the arms take of it adds up to the row."""

    def test_shares_of_a_row_add_up_to_it(self) -> None:
        for weights in self.follow(20, apart=2.0):  # type: ignore[attr-defined]
            total = SHARE * weights.treatment + (1 - SHARE) * weights.control
            np.testing.assert_allclose(total, 1.0, atol=1e-6)
