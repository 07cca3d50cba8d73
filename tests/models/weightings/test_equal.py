"""Equal: ones."""

from typing import ClassVar

import torch

from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract


class TestContract(WeightingContract):
    masks: ClassVar[bool] = False

    def config(self) -> EqualConfig:
        return EqualConfig()


def test_every_weight_is_1_whatever_the_losses() -> None:
    weighting = EqualConfig().build(COURSE.setting())
    assert weighting(losses_only(torch.tensor([1e-6, 1.0, 1e6]))).tolist() == [1, 1, 1]
