"""Bandit task sampling."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fulcrum.models.gramians import SketchConfig
from fulcrum.models.step import Step
from fulcrum.models.weightings.bandit import (
    Bandit,
    BanditConfig,
    helpfulness,
    probabilities,
    rewarded,
)
from fulcrum.testing.course import Course, follow, losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract

CONFIG = BanditConfig(gramian=SketchConfig(every=4))


class TestContract(WeightingContract):
    equivariant: ClassVar[bool] = False
    drawn: ClassVar[bool] = True
    per_task: ClassVar[tuple[str, ...]] = ("scores",)

    def config(self) -> BanditConfig:
        """Learns so fast that its draws tell what it has learned."""
        return BanditConfig(gamma=0.5, gramian=SketchConfig(every=1))

    def test_a_task_that_is_absent_has_weight_0(self) -> None:
        """So one of the others is trained, by round robin as by draw."""
        weights = follow(self.make(), COURSE.without(1), range(40))
        assert (weights.sort(1).values == torch.tensor([0.0, 0, 2])).all()
        assert not weights[:, 1].any()

    def test_a_task_that_is_absent_does_not_disturb_the_others(self) -> None:
        """Their draws keep their ratios, within four standard errors, over steps without a
        reward."""
        weighting, draws = CONFIG.build(COURSE.setting()), 4_000
        assert isinstance(weighting, Bandit)
        weighting.scores.copy_(torch.tensor([1.0, 3, 0]))
        step = losses_only(torch.ones(3), torch.tensor([True, False, True]))
        share = 0.0
        for number in range(100, 100 + draws):
            weighting.steps.fill_(4 * number + 1)
            share += weighting(step)[0].item() / 2 / draws
        likely = probabilities(weighting.scores, weighting.gamma)
        expected = (likely[0] / (likely[0] + likely[2])).item()
        error = (expected * (1 - expected) / draws) ** 0.5
        assert share == pytest.approx(expected, abs=4 * error)


def test_one_task_is_trained_in_a_step() -> None:
    weights = follow(CONFIG.build(COURSE.setting()), COURSE, range(20))
    assert (weights.sort(1).values == torch.tensor([0.0, 0, 3])).all()


def test_begins_by_round_robin() -> None:
    weights = follow(CONFIG.build(COURSE.setting()), COURSE, range(4))
    assert weights.argmax(1).tolist() == [0, 1, 2, 0]


def test_the_reward_is_of_the_drawn_task_alone() -> None:
    weighting = BanditConfig(gamma=0.2, gramian=SketchConfig(every=1)).build(COURSE.setting())
    weighting.steps.fill_(weighting.warm_up)
    products = torch.tensor([[4.0, 3.0, -2.0], [3.0, 9.0, 0.0], [-2.0, 0.0, 1.0]]).double()
    losses = torch.ones(3)
    drawn = int(weighting(Step(losses, losses > 0, lambda: products, _no_rows)).argmax())
    cosines = {(0, 1): 3 / (2 * 3), (0, 2): -2 / (2 * 1), (1, 2): 0 / (3 * 1)}
    summed = sum(cosine for pair, cosine in cosines.items() if drawn in pair)
    reward = 1 / (1 + math.exp(-summed))
    expected = [0.0, 0.0, 0.0]
    expected[drawn] = 0.2 * reward / (3 * (1 / 3))
    assert weighting.scores.tolist() == pytest.approx(expected)


def _no_rows() -> None:
    raise AssertionError("asked for rows")


def test_gradients_are_asked_for_every_so_many_steps() -> None:
    asked = []

    def products(number: int) -> Tensor:
        asked.append(number)
        return torch.eye(3).double()

    weighting = CONFIG.build(COURSE.setting())
    for number in range(20):
        losses = torch.ones(3)
        weighting(Step(losses, losses > 0, lambda n=number: products(n), _no_rows))
    assert asked == [4, 8, 12, 16]


def test_a_task_without_a_gradient_helps_nobody() -> None:
    products = torch.tensor([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]).double()
    assert helpfulness(products).tolist() == [0.5, 0.5, 0]


def test_gamma_is_that_of_the_horizon() -> None:
    made = BanditConfig(gramian=SketchConfig(every=10)).build(COURSE.setting(4_000))
    assert isinstance(made, Bandit)
    assert made.gamma == pytest.approx(math.sqrt(3 * math.log(3) / ((math.e - 1) * 400)))
    short = CONFIG.build(Course().setting(1))
    assert isinstance(short, Bandit) and short.gamma == 1


def test_finds_the_best_of_four_arms() -> None:
    """Bernoulli rewards, 20 repetitions of 4,000 rounds side by side."""
    rounds, repetitions, arms = 4_000, 20, torch.tensor([0.2, 0.3, 0.5, 0.8])
    gamma = math.sqrt(4 * math.log(4) / ((math.e - 1) * rounds))
    random = torch.Generator().manual_seed(0)
    scores = torch.zeros(repetitions, 4, dtype=torch.float64)
    best = torch.zeros(repetitions)
    for number in range(rounds):
        likely = probabilities(scores, gamma)
        drawn = torch.multinomial(likely, 1, generator=random)
        reward = (torch.rand(repetitions, 1, generator=random) < arms[drawn]).double()
        scores = rewarded(scores, likely, drawn, reward, gamma)
        best += (drawn[:, 0] == 3) * (number >= rounds // 2)
    share = best / (rounds // 2)
    assert share.mean() >= 0.9, share
