"""FAMO."""

from typing import ClassVar

import pytest
import torch
from torchjd.scalarization import FAMO as Reference

from fulcrum.models.weightings.famo import FAMOConfig
from fulcrum.testing.course import Again, Course, follow, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.weightings.reference import weights_of


class TestContract(WeightingContract):
    per_task: ClassVar[tuple[str, ...]] = ("xi", "adam.exp_avg_0", "adam.exp_avg_sq_0")

    def config(self) -> FAMOConfig:
        return FAMOConfig(every=2)


def test_golden_first_weights() -> None:
    weighting = FAMOConfig().build(COURSE.setting())
    inverse = [1 / loss for loss in (2, 0.5, 1)]
    expected = [value / sum(inverse) for value in inverse]
    assert expected == pytest.approx([0.1429, 0.5714, 0.2857], abs=5e-5)
    seen = weighting(losses_only(torch.tensor([2, 0.5, 1.0])))
    assert (seen / 3).tolist() == pytest.approx(expected, rel=1e-6)


def test_learns_as_torchjd() -> None:
    weighting, reference = FAMOConfig(every=1).build(COURSE.setting()), Reference(3).double()
    for number in range(30):
        losses, after = COURSE.losses(number), COURSE.after(number)
        expected = weights_of(reference, losses)
        torch.testing.assert_close(weighting(losses_only(losses)), 3 * expected.float())
        weighting.after_step(after)
        reference.update(after.again())
    assert weighting.xi.abs().min() > 0.01


def test_a_task_that_improves_faster_loses_weight() -> None:
    weighting = FAMOConfig(every=1).build(COURSE.setting())
    before, after = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0.5, 1.0, 1.1]).double()
    for _ in range(20):
        weights = weighting(losses_only(before))
        weighting.after_step(Again(after))
    assert weights[0] < weights[1] < weights[2]


def test_asks_for_the_losses_again_every_so_many_steps() -> None:
    weighting, after = FAMOConfig(every=4).build(COURSE.setting()), Again(torch.ones(3).double())
    for _ in range(9):
        weighting(losses_only(torch.ones(3)))
        weighting.after_step(after)
    assert after.asked == 3


def test_a_loss_of_0_has_no_part() -> None:
    weighting = FAMOConfig().build(COURSE.setting())
    seen = weighting(losses_only(torch.tensor([0.0, 0.5, 1.0])))
    torch.testing.assert_close(seen, torch.tensor([0.0, 2.0, 1.0]))


def test_the_scale_of_a_loss_leaves_every_weighted_loss() -> None:
    """Up to normalisation: all that is seen of a loss is its logarithm's change."""
    config, scaled = FAMOConfig(every=1), Course(scale=1e3)
    plain = follow(config.build(COURSE.setting()), COURSE, range(20))
    seen = follow(config.build(scaled.setting()), scaled, range(20))
    share = seen * torch.tensor([1e3, 1, 1]) / plain
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3), rtol=1e-4, atol=0)
