"""Improvable gap balancing, first form."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fulcrum.models.weightings import Weighting
from fulcrum.models.weightings.igb import IGBConfig
from fulcrum.testing.course import Course, follow, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract

WINDOW = 4


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("total", "seen", "level.total", "level.seen")

    def config(self) -> IGBConfig:
        return IGBConfig(window=WINDOW)


def based(base: list[float], course: Course = COURSE) -> Weighting:
    """A weighting that has seen other losses in the first window, and a mean of `base` in the
    second."""
    weighting = IGBConfig(window=WINDOW).build(course.setting())
    for number in range(WINDOW):
        weighting(losses_only(course.losses(number)))
    for number in range(WINDOW):
        weighting(losses_only(torch.tensor(base) * (1 + 0.5 * (-1) ** number)))
    return weighting


def log_weights(weighting: Weighting, losses: list[float]) -> Tensor:
    """The weights of the log losses."""
    return weighting(losses_only(torch.tensor(losses))) * torch.tensor(losses)


def test_golden_weights() -> None:
    pair = Course(tasks=(0, 1))
    powers = [math.exp(2), math.exp(1)]
    expected = [2 * p / sum(powers) for p in powers]
    assert expected == pytest.approx([1.46212, 0.53788], abs=5e-6)
    seen = log_weights(based([0.4, 3.0], pair), [0.8, 3.0])
    assert seen.tolist() == pytest.approx(expected, rel=1e-5)


def test_log_losses_have_equal_weights_until_there_is_a_base() -> None:
    weighting = IGBConfig(window=WINDOW).build(COURSE.setting())
    for number in range(2 * WINDOW):
        losses = COURSE.losses(number)
        seen = weighting(losses_only(losses))
        torch.testing.assert_close(seen, (1 / losses).float())
    assert not torch.allclose(weighting(losses_only(losses)), seen)


def test_losses_at_their_base_have_equal_weights() -> None:
    torch.testing.assert_close(log_weights(based([0.4, 3, 1]), [0.4, 3, 1]), torch.ones(3))


def test_the_weights_of_log_losses_sum_to_the_number_of_tasks() -> None:
    weighting = IGBConfig(window=WINDOW).build(COURSE.setting())
    seen = follow(weighting, COURSE, range(20)) * torch.stack(
        [COURSE.losses(number).float() for number in range(20)]
    )
    torch.testing.assert_close(seen.sum(1), torch.full((20,), 3.0))


def test_the_scale_of_a_loss_leaves_every_weighted_loss() -> None:
    config, scaled = IGBConfig(window=WINDOW), Course(scale=1e3)
    plain = follow(config.build(COURSE.setting()), COURSE, range(20))
    seen = follow(config.build(scaled.setting()), scaled, range(20))
    torch.testing.assert_close(seen * torch.tensor([1e3, 1, 1]), plain, rtol=1e-5, atol=0)


def test_a_loss_next_to_0_counts_as_a_hundredth_of_its_mean() -> None:
    """Its weight is T softmax(L / base) over that, where 1 / L would be 1e8 and more."""
    weighting = IGBConfig(window=WINDOW).build(COURSE.setting())
    for _ in range(2 * WINDOW):
        weighting(losses_only(torch.tensor([0.5, 0.5, 0.5])))
    seen = weighting(losses_only(torch.tensor([0.0, 0.5, 0.5])))
    counted = (0.5 * 8 / 9 / 100, 0.5, 0.5)
    powers = [1, math.e, math.e]
    expected = [3 * p / sum(powers) / c for p, c in zip(powers, counted, strict=True)]
    assert seen.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_rare_task_has_a_base_over_as_many_steps() -> None:
    """Here every other step observes task 1, whose loss is 1, 2, 3, ..."""
    weighting = IGBConfig(window=WINDOW).build(COURSE.setting())
    for number in range(4 * WINDOW):
        observed = torch.tensor([True, number % 2 == 1, True])
        losses = torch.tensor([1.0, number // 2 + 1, 1.0]) * observed
        weighting(losses_only(losses, observed))
    base = weighting.total / WINDOW
    assert base.tolist() == [1, (5 + 6 + 7 + 8) / 4, 1]
