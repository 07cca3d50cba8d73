"""The contract of a weighting, and its equation by hand."""

import math
from typing import ClassVar

import pytest
import torch

from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from shop_parts.models.hard_first import HardFirstConfig

KNOWN = torch.tensor([0.8, 0.5, 0.1], dtype=torch.float64)
"""How likely the right answers were held, by task."""


class TestHardFirst(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("kappa",)

    def config(self) -> HardFirstConfig:
        return HardFirstConfig()


def test_it_is_the_equation() -> None:
    weighting = HardFirstConfig(rate=1, focus=2, normalise=False).build(COURSE.setting())
    expected = [-((1 - kappa) ** 2) * math.log(kappa) for kappa in KNOWN.tolist()]
    assert weighting(losses_only(-KNOWN.log())).tolist() == pytest.approx(expected)


def test_the_hardest_comes_first_and_the_more_so_the_longer_it_stays_hard() -> None:
    weighting = HardFirstConfig().build(COURSE.setting())
    weights = torch.stack([weighting(losses_only(-KNOWN.log())) for _ in range(50)])
    assert (weights[:, 0] < weights[:, 1]).all() and (weights[:, 1] < weights[:, 2]).all()
    assert (weights[:, 2].diff() > 0).all()
