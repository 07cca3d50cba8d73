"""Geometric loss."""

import pytest
import torch
from torchjd.scalarization import GeometricMean

from fulcrum.models.weightings.geometric import GeometricConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of


class TestContract(WeightingContract):
    def config(self) -> GeometricConfig:
        return GeometricConfig()


def test_golden_weights() -> None:
    weighting = GeometricConfig().build(COURSE.setting())
    total = (2 * 0.5 * 1) ** (1 / 3)
    expected = [total / (3 * loss) for loss in (2, 0.5, 1)]
    assert expected == pytest.approx([1 / 6, 2 / 3, 1 / 3])
    assert weighting(losses_only(torch.tensor([2, 0.5, 1.0]))).tolist() == pytest.approx(expected)


def test_weights_are_those_of_torchjd() -> None:
    weighting = GeometricConfig().build(COURSE.setting())
    for number in range(10):
        expected = weights_of(GeometricMean(), COURSE.losses(number))
        torch.testing.assert_close(weighting(COURSE.step(number)), expected.float())


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_a_loss_leaves_the_direction(scale: float) -> None:
    weighting = GeometricConfig().build(COURSE.setting())
    losses, scales = COURSE.losses(0), torch.tensor([1, scale, 1], dtype=torch.float64)
    plain, scaled = weighting(losses_only(losses)), weighting(losses_only(losses * scales))
    share = scaled * scales.float() / plain
    torch.testing.assert_close(share, share[0].expand(3))
    assert share[0].item() == pytest.approx(scale ** (1 / 3))


def test_an_absent_task_has_no_part_in_the_mean() -> None:
    weighting = GeometricConfig().build(COURSE.setting())
    active = torch.tensor([True, False, True])
    seen = weighting(losses_only(torch.tensor([4.0, 0.0, 1.0]), active)).tolist()
    total = (4 * 1) ** (1 / 2)
    assert seen == pytest.approx([total / (2 * 4), 0, total / (2 * 1)])
