"""Random loss weighting."""

from typing import ClassVar

import torch
from torchjd.scalarization import Random as Reference

from fulcrum.models.weightings.random import RandomConfig
from fulcrum.testing.course import Course, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of


class TestContract(WeightingContract):
    equivariant: ClassVar[bool] = False
    drawn: ClassVar[bool] = True

    def config(self) -> RandomConfig:
        return RandomConfig()


def test_weights_are_those_of_torchjd() -> None:
    weighting = RandomConfig().build(COURSE.setting())
    torch.manual_seed(weighting.random().initial_seed())
    expected = 3 * weights_of(Reference(), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(weighting(losses_only(torch.ones(3))), expected.float())


def test_weights_are_1_on_average() -> None:
    """Over 5,000 steps, within four standard errors."""
    weighting = RandomConfig().build(Course(seed=3).setting())
    step = losses_only(torch.ones(3))
    seen = torch.stack([weighting(step) for _ in range(5_000)])
    assert ((seen.mean(0) - 1).abs() < 4 * seen.std(0) / len(seen) ** 0.5).all()
    assert (seen.std(0) > 0.5).all()
