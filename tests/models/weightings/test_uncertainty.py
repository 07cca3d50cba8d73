"""Uncertainty weighting."""

from typing import ClassVar

import pytest
import torch
from torchjd.scalarization import UW

from fulcrum.features.layout import TaskSpec
from fulcrum.models.weightings import Setting
from fulcrum.models.weightings.uncertainty import UncertaintyConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("s", "adam.exp_avg_0", "adam.exp_avg_sq_0")

    def config(self) -> UncertaintyConfig:
        return UncertaintyConfig()


def test_golden_start() -> None:
    """The total is of torchjd's scalarizer, whose weights are ours."""
    losses = torch.tensor([2, 0.5, 1.0])
    assert UW(3)(losses).item() == pytest.approx(0.5 * (2 + 0.5 + 1)) == pytest.approx(1.75)
    seen = UncertaintyConfig().build(COURSE.setting())(losses_only(losses))
    assert seen.tolist() == [0.5, 0.5, 0.5]


def test_learns_as_torchjds_in_an_adam() -> None:
    weighting, reference = UncertaintyConfig(lr=0.1).build(COURSE.setting()), UW(3).double()
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.1)
    for number in range(30):
        losses = COURSE.losses(number)
        expected = weights_of(reference, losses)
        torch.testing.assert_close(weighting(losses_only(losses)), expected.float())
        optimizer.zero_grad()
        reference(losses).backward()
        optimizer.step()


def test_the_logarithm_of_the_loss_is_stationary() -> None:
    weighting = UncertaintyConfig().build(COURSE.setting())
    losses = torch.tensor([0.02, 0.5, 5.0], dtype=torch.float64)
    with torch.no_grad():
        weighting.s.copy_(losses.log())
    weights = weighting(losses_only(losses))
    torch.testing.assert_close(weights, (0.5 / losses).float())
    torch.testing.assert_close(
        weighting.adam.exp_avg_0, torch.zeros(3).double(), atol=1e-15, rtol=0
    )


def test_finds_the_logarithm_of_every_loss() -> None:
    weighting = UncertaintyConfig(lr=0.02).build(COURSE.setting())
    losses = torch.tensor([0.02, 0.5, 5.0], dtype=torch.float64)
    for _ in range(500):
        assert (weighting(losses_only(losses)) > 0).all()
    assert ((weighting.s - losses.log()).abs() < 1e-3).all()


def test_the_paper_halves_regressions_alone() -> None:
    kinds = ("binary", "regression", "multiclass")
    tasks = tuple(TaskSpec(name=kind, kind=kind) for kind in kinds)
    weighting = UncertaintyConfig(form="by_kind").build(Setting(tasks))
    assert weighting(losses_only(torch.ones(3))).tolist() == [1, 0.5, 1]
