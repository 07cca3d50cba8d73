"""IMTL-L."""

from typing import ClassVar

import pytest
import torch
from torchjd.scalarization import IMTLL as Reference

from fulcrum.models.weightings.imtl_l import IMTLLConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("s", "adam.exp_avg_0", "adam.exp_avg_sq_0")

    def config(self) -> IMTLLConfig:
        return IMTLLConfig()


def test_golden_start() -> None:
    """The total of torchjd's scalarizer, whose weights are ours."""
    losses = torch.tensor([2, 0.5, 1.0])
    assert Reference(3)(losses).item() == pytest.approx(2 + 0.5 + 1)
    assert IMTLLConfig().build(COURSE.setting())(losses_only(losses)).tolist() == [1, 1, 1]


def test_learns_as_torchjds_in_an_adam() -> None:
    weighting, reference = IMTLLConfig(lr=0.1).build(COURSE.setting()), Reference(3).double()
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.1)
    for number in range(30):
        losses = COURSE.losses(number)
        expected = weights_of(reference, losses)
        torch.testing.assert_close(weighting(losses_only(losses)), expected.float())
        optimizer.zero_grad()
        reference(losses).backward()
        optimizer.step()


def test_scaled_losses_become_1() -> None:
    weighting = IMTLLConfig().build(COURSE.setting())
    losses = torch.tensor([0.02, 0.5, 5.0])
    for _ in range(500):
        weights = weighting(losses_only(losses))
    torch.testing.assert_close(weights * losses, torch.ones(3), rtol=1e-3, atol=0)
