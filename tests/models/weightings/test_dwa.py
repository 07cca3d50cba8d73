"""Dynamic weight average."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torchjd.scalarization import DWA as Reference

from fulcrum.models.weightings import Weighting
from fulcrum.models.weightings.dwa import DWAConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of

WINDOW = 4


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("means", "known")

    def config(self) -> DWAConfig:
        return DWAConfig(window=WINDOW)


def windows(weighting: Weighting, *means: list[float]) -> Tensor:
    """The weights after a window of each of these mean losses, with noise that leaves them."""
    for mean in means:
        for number in range(WINDOW):
            noise = 1 + 0.1 * (-1) ** number
            weights = weighting(losses_only(torch.tensor(mean, dtype=torch.float64) * noise))
    return weights


def test_golden_weights() -> None:
    weighting = DWAConfig(window=WINDOW).build(COURSE.setting())
    seen = windows(weighting, [2, 0.5, 1], [1, 0.5, 0.8], [7, 8, 9])
    powers = [math.exp(ratio / 2) for ratio in (1 / 2, 0.5 / 0.5, 0.8 / 1)]
    assert seen.tolist() == pytest.approx([3 * p / sum(powers) for p in powers], rel=1e-6)
    assert seen.tolist() == pytest.approx([0.8706, 1.1179, 1.0115], abs=5e-5)


def test_the_first_two_windows_are_equal() -> None:
    weighting = DWAConfig(window=WINDOW).build(COURSE.setting())
    assert windows(weighting, [2, 0.5, 1]).tolist() == [1, 1, 1]
    assert windows(weighting, [1, 0.5, 0.8]).tolist() == [1, 1, 1]
    assert windows(weighting, [1, 0.5, 0.8]).tolist() != [1, 1, 1]


def test_equal_ratios_give_ones() -> None:
    weighting = DWAConfig(window=WINDOW).build(COURSE.setting())
    seen = windows(weighting, [2, 0.5, 1], [1, 0.25, 0.5], [1, 1, 1])
    torch.testing.assert_close(seen, torch.ones(3))


def test_a_task_that_improves_faster_gets_less() -> None:
    weighting = DWAConfig(window=WINDOW).build(COURSE.setting())
    seen = windows(weighting, [1, 1, 1], [0.9, 0.5, 0.7], [1, 1, 1])
    assert seen[0] > seen[2] > seen[1]


def test_weights_are_those_of_torchjd() -> None:
    weighting, reference = DWAConfig(window=WINDOW).build(COURSE.setting()), Reference()
    for number in range(20):
        losses = COURSE.losses(number)
        expected = weights_of(reference, losses)
        torch.testing.assert_close(weighting(losses_only(losses)), expected.float())
        if number % WINDOW == WINDOW - 1:
            reference.step()


def test_the_window_is_an_epoch_unless_stated() -> None:
    assert DWAConfig().build(COURSE.setting()).window == COURSE.setting().epoch
