"""Smooth Tchebycheff."""

import math

import pytest
import torch
from torchjd.scalarization import STCH as Reference

from fulcrum.models.weightings.stch import STCHConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of

LOSSES = torch.tensor([2, 0.5, 1.0], dtype=torch.float64)


class TestContract(WeightingContract):
    def config(self) -> STCHConfig:
        return STCHConfig()


def test_golden_weights() -> None:
    powers = [math.exp(loss / 3) for loss in (2, 0.5, 1)]
    expected = [p / sum(powers) / 3 for p in powers]
    assert expected == pytest.approx([0.1435, 0.0870, 0.1028], abs=5e-5)
    seen = STCHConfig(normalise=False).build(COURSE.setting())(losses_only(LOSSES))
    assert seen.tolist() == pytest.approx(expected, rel=1e-6)


def test_golden_total() -> None:
    """Of torchjd's scalarizer, whose weights are ours."""
    total = math.log(sum(math.exp(loss / 3) for loss in (2, 0.5, 1)))
    assert total == pytest.approx(1.509553, abs=5e-7)
    assert Reference(mu=1.0)(LOSSES).item() == pytest.approx(total)


@pytest.mark.parametrize("mu", [0.1, 1, 10])
def test_weights_are_those_of_torchjd(mu: float) -> None:
    weighting = STCHConfig(mu=mu, normalise=False).build(COURSE.setting())
    for number in range(10):
        expected = weights_of(Reference(mu), COURSE.losses(number))
        torch.testing.assert_close(weighting(COURSE.step(number)), expected.float())


def test_mu_leads_from_the_maximum_to_the_mean() -> None:
    def weights(mu: float) -> torch.Tensor:
        return STCHConfig(mu=mu).build(COURSE.setting())(losses_only(LOSSES))

    torch.testing.assert_close(weights(1e-3), torch.tensor([3.0, 0, 0]))
    torch.testing.assert_close(weights(1e6), torch.ones(3))
