"""Improvable gap balancing by an agent: its promises, and three bandits that it has to solve."""

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fulcrum.models.agents.sac import SAC, Replay, weights
from fulcrum.models.weightings import Setting
from fulcrum.models.weightings.igb_sac import IGBSACConfig
from fulcrum.testing.course import Again, follow, losses_only
from fulcrum.testing.layouts import binary_tasks
from fulcrum.testing.weightings import COURSE, WeightingContract

STEPS, WARMUP, BATCH, LR = 3000, 200, 128, 1e-3


class TestContract(WeightingContract):
    equivariant: ClassVar[bool] = False
    drawn: ClassVar[bool] = True
    alone: ClassVar[bool] = False
    per_task: ClassVar[tuple[str, ...]] = ("total", "seen")

    def config(self) -> IGBSACConfig:
        return IGBSACConfig(window=3, every=4, replay=50, hidden=8)

    def test_a_task_that_is_absent_does_not_disturb_the_others(self) -> None:
        """The agent acts on what it knows of all tasks: of one that is absent, what it knew."""
        here, there = self.make(), self.make()
        for weighting in (here, there):
            follow(weighting, COURSE, range(10))
        before = here.ratios.clone()
        here(COURSE.without(1).step(10)), there(COURSE.step(10))
        assert torch.equal(here.ratios[[0, 2]], there.ratios[[0, 2]])
        assert torch.isclose(here.ratios[1], before[1]) and here.ratios[1] != there.ratios[1]


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_no_logit_is_free_for_the_last_task(tasks: int) -> None:
    seen = weights(torch.randn(5, tasks - 1))
    torch.testing.assert_close(seen.sum(-1), torch.full((5,), float(tasks)))
    torch.testing.assert_close(weights(torch.zeros(tasks - 1)), torch.ones(tasks))


def test_the_oldest_transition_makes_room() -> None:
    replay = Replay(3, 2, 1)
    for number in range(5):
        replay.add(torch.full((2,), float(number)), torch.zeros(1), float(number), torch.zeros(2))
    assert len(replay) == 3 and sorted(replay.rewards.tolist()) == [2, 3, 4]


def test_the_agent_learns_once_there_is_a_base() -> None:
    weighting = TestContract().make()
    before = {n: p.clone() for n, p in weighting.agent.named_parameters()}
    follow(weighting, COURSE, range(6))
    assert all(torch.equal(p, before[n]) for n, p in weighting.agent.named_parameters())
    follow(weighting, COURSE, range(6, 20))
    assert any(not torch.equal(p, before[n]) for n, p in weighting.agent.named_parameters())


def test_the_weight_of_a_loss_is_the_agents_over_the_loss() -> None:
    """The network follows the gradient of sum_t w_t log L_t, up to the size of the weights."""
    weighting = IGBSACConfig().build(Setting(binary_tasks(3)))
    losses = torch.tensor([0.01, 1.0, 5.0], dtype=torch.float64)
    seen = weighting(losses_only(losses)).double() * losses
    torch.testing.assert_close(3 * seen / seen.sum(), weights(weighting.action.double()))


def test_the_reward_is_the_least_improvement_over_the_base_and_the_learning_rate() -> None:
    weighting = IGBSACConfig(window=1).build(Setting(binary_tasks(2)))
    actions = []
    for losses in ((9.0, 9.0), (2.0, 4.0), (2.0, 4.0), (1.0, 3.0)):
        weighting(losses_only(torch.tensor(losses, dtype=torch.float64)))
        weighting.after_step(Again(torch.zeros(2), rate=0.5))
        actions.append(weighting.action.clone())
    smoothed = torch.tensor([0.9 + 0.1 * 1 / 2, 0.9 + 0.1 * 3 / 4])
    replay = weighting.replay
    assert len(replay) == 1
    torch.testing.assert_close(replay.states[0], torch.ones(2))
    torch.testing.assert_close(replay.following[0], smoothed)
    torch.testing.assert_close(replay.rewards[0], (1 - smoothed).min() / 0.5)
    assert torch.equal(replay.actions[0], actions[2])


def test_a_step_without_any_task_teaches_nothing() -> None:
    weighting = TestContract().make()
    follow(weighting, COURSE, range(10))
    ratios, known = weighting.ratios.clone(), len(weighting.replay)
    weights = weighting(COURSE.without(0, 1, 2).step(10))
    assert torch.equal(weights, torch.zeros(3)) and len(weighting.replay) == known
    torch.testing.assert_close(weighting.ratios, ratios)


def solve(
    tasks: int, reward: Callable[[Tensor, Tensor, torch.Generator], Tensor], steps: int = STEPS
) -> tuple[SAC, torch.Generator]:
    """A one-step bandit: states are drawn, nothing follows."""
    torch.manual_seed(0)
    agent, random = SAC(tasks, hidden=64, lr=LR, gamma=0.0), torch.Generator().manual_seed(1)
    replay = Replay(steps, tasks, tasks - 1)
    for step in range(steps):
        state = torch.rand(tasks, generator=random)
        if step < WARMUP:
            action = torch.randn(tasks - 1, generator=random)
        else:
            with torch.no_grad():
                action = agent.act(state[None], random)[0][0]
        gained = reward(state, weights(action), random)
        replay.add(state, action, float(gained), state)
        if step >= BATCH:
            agent.update(replay.sample(BATCH, random), random)
    return agent, random


def proposed(agent: SAC, states: Tensor) -> Tensor:
    """Weights at the mean logits."""
    with torch.no_grad():
        return weights(agent.actor(states).chunk(2, -1)[0].clamp(-3, 3))


@pytest.mark.parametrize("steps", [600, pytest.param(STEPS, marks=pytest.mark.slow)])
def test_all_weight_goes_where_the_reward_is(steps: int) -> None:
    """As far as the bound on logits lets it: 2 sigmoid(3) = 1.905."""

    def reward(state: Tensor, w: Tensor, random: torch.Generator) -> Tensor:
        return w[0] / 2 + 0.05 * torch.randn((), generator=random)

    agent, random = solve(2, reward, steps)
    assert proposed(agent, torch.rand(64, 2, generator=random))[:, 0].mean() > 1.85


@pytest.mark.slow
def test_an_optimum_inside_is_found() -> None:
    wanted = torch.tensor([1.5, 1.0, 0.5])

    def reward(state: Tensor, w: Tensor, random: torch.Generator) -> Tensor:
        return -(w - wanted).square().sum() + 0.05 * torch.randn((), generator=random)

    agent, random = solve(3, reward)
    seen = proposed(agent, torch.rand(64, 3, generator=random)).mean(0)
    assert (seen - wanted).abs().max() < 0.1


@pytest.mark.slow
def test_an_optimum_that_depends_on_the_state_is_followed() -> None:
    def wanted(state: Tensor) -> Tensor:
        return 2 * (3 * state).softmax(-1)

    def reward(state: Tensor, w: Tensor, random: torch.Generator) -> Tensor:
        return -(w - wanted(state)).square().sum()

    agent, random = solve(2, reward)
    states = torch.rand(256, 2, generator=random)
    regret = (proposed(agent, states) - wanted(states)).square().sum(-1).mean()
    drawn = weights(torch.randn(256, 1, generator=random))
    assert regret < 0.05 * (drawn - wanted(states)).square().sum(-1).mean()
