"""Smooth Tchebycheff."""

import math
from typing import ClassVar

import pytest
import torch
from torchjd.scalarization import STCH as Reference

from fulcrum.models.weightings import Weighting
from fulcrum.models.weightings.stch import STCHConfig
from fulcrum.testing.course import Course, follow, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of

LOSSES = torch.tensor([2, 0.5, 1.0], dtype=torch.float64)


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("level.total", "level.seen")

    def config(self) -> STCHConfig:
        return STCHConfig(window=16)


LEVELS = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)


def levelled(mu: float, normalise: bool = False) -> Weighting:
    """A weighting that has seen each task's level in its one step of warm-up."""
    config = STCHConfig(mu=mu, window=1, normalise=normalise)
    weighting = config.build(COURSE.setting())
    weighting(losses_only(LEVELS))
    return weighting


def test_golden_weights() -> None:
    powers = [math.exp(loss / 3) for loss in (2, 0.5, 1)]
    expected = [p / sum(powers) / 3 for p in powers]
    assert expected == pytest.approx([0.1435, 0.0870, 0.1028], abs=5e-5)
    seen = levelled(1)(losses_only(LEVELS * LOSSES)) * LEVELS
    assert seen.tolist() == pytest.approx(expected, rel=1e-6)


def test_golden_total() -> None:
    """Of torchjd's scalarizer, whose weights are ours."""
    total = math.log(sum(math.exp(loss / 3) for loss in (2, 0.5, 1)))
    assert total == pytest.approx(1.509553, abs=5e-7)
    assert Reference(mu=1.0)(LOSSES).item() == pytest.approx(total)


@pytest.mark.parametrize("mu", [0.1, 1, 10])
def test_weights_are_those_of_torchjd(mu: float) -> None:
    """Of the losses over their levels, by the chain rule over the level."""
    weighting = levelled(mu)
    for number in range(10):
        losses = COURSE.losses(number)
        expected = (weights_of(Reference(mu), losses) / LEVELS).float()
        torch.testing.assert_close(weighting(losses_only(LEVELS * losses)), expected)


def test_the_level_is_the_mean_so_far_until_the_window_is_over() -> None:
    """Of equal losses over their levels, weights go with 1 / level."""
    weighting = STCHConfig(window=2).build(COURSE.setting())
    for factor, mean in ((1, 1), (3, 2), (2, 2)):
        seen = weighting(losses_only(factor * LEVELS))
        expected = (1 / (mean * LEVELS)) / (1 / (mean * LEVELS)).sum() * 3
        torch.testing.assert_close(seen, expected.float())


def test_the_scale_of_a_loss_leaves_every_weighted_loss() -> None:
    """Up to normalisation."""
    config, scaled = STCHConfig(window=4), Course(scale=1e3)
    plain = follow(config.build(COURSE.setting()), COURSE, range(20))
    seen = follow(config.build(scaled.setting()), scaled, range(20))
    share = seen * torch.tensor([1e3, 1, 1]) / plain
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3), rtol=1e-4, atol=0)


def test_mu_leads_from_the_maximum_to_the_mean() -> None:
    def weights(mu: float) -> torch.Tensor:
        return 3 * 3 * levelled(mu)(losses_only(LEVELS * LOSSES)) * LEVELS.float()

    torch.testing.assert_close(weights(1e-3), torch.tensor([3.0, 0, 0]))
    torch.testing.assert_close(weights(1e6), torch.ones(3))
