"""RMTL: critics against what they should know, weights of rows, calibration."""

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.models.agents.critics import LEAST, TemporalDifference, reward, session_ends
from fulcrum.models.weightings import StaticConfig
from fulcrum.models.weightings import rmtl as module
from fulcrum.models.weightings.rmtl import RMTL, RMTLConfig
from fulcrum.models.weightings.rmtl_mc import discounted
from tests.models.weightings.row_contract import RowContract, plain_gradients
from tests.models.weightings.sessions_toy import (
    SETTING,
    chance,
    expected_reward,
    step_of,
    teach,
    toy,
)

CRITICS = RMTLConfig(hidden=(64, 64), updates=1)


class TestRMTL(RowContract):
    equivariant: ClassVar[bool] = False

    def config(self) -> RMTLConfig:
        return RMTLConfig(hidden=(8,), epochs=2)

    def test_critics_that_see_no_difference_are_plain_training_bit_for_bit(self) -> None:
        plain, weighed = plain_gradients(StaticConfig()), plain_gradients(self.config(), flat=True)
        assert plain.keys() == weighed.keys()
        assert all(torch.equal(plain[name], weighed[name]) for name in plain)


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.cat([one, other], 1).T)[0, 1])


@torch.no_grad()
def values(weighting: RMTL, state: Tensor, actions: Tensor) -> Tensor:
    return weighting.td.critics(state, actions)


def test_without_a_future_critics_know_the_expected_reward() -> None:
    rows = toy(1000, 10_000)
    q = values(teach(CRITICS.model_copy(update={"gamma": 0.0}), 1500), rows.state, rows.scores)
    assert (q - expected_reward(rows)).abs().mean() < 0.1


@pytest.mark.slow
def test_with_a_future_critics_know_the_return() -> None:
    """r + gamma c (1 - gamma^m) / (1 - gamma), m rows left and c the mean reward. The returns that
    happened hold every row's own noise, which no critic can foresee."""
    gamma, rows = 0.9, toy(5000, 10_000)
    q = values(teach(CRITICS.model_copy(update={"gamma": gamma}), 3000), rows.state, rows.scores)
    now = expected_reward(rows)
    expected = now + gamma * now.mean() * (1 - gamma ** rows.state[:, 2:]) / (1 - gamma)
    assert (q - expected).abs().mean() < 0.15 and correlation(q, expected) > 0.95
    gained = reward(rows.scores, rows.labels)
    happened = discounted(gained, session_ends(rows.session), gamma)
    assert correlation(q, happened) > 0.95 * correlation(expected, happened)


def best_action_error(explore: float, lessons: int = 3000) -> float:
    """Mean distance of argmax_a Q(s, a) from P(y = 1 | s)."""
    critics = teach(CRITICS.model_copy(update={"gamma": 0.0, "explore": explore}), lessons)
    state, grid = toy(500, 10_000).state, torch.linspace(0.01, 0.99, 99)
    q = torch.cat([values(critics, state, a.expand(500, 1)) for a in grid], 1)
    return float((grid[q.argmax(1)] - chance(state)[:, 0]).abs().mean())


@pytest.mark.slow
def test_the_best_action_is_the_true_chance_if_actions_are_explored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Around a policy that hardly varies its predictions, values of other actions are guesses. With
    the usual noise the policy's neighbourhood is wide enough in this toy after 3000 lessons."""
    assert best_action_error(explore=0.5) < 0.1
    monkeypatch.setattr(module, "NOISE", 0.02)
    mixed, near = best_action_error(explore=0.5), best_action_error(explore=0.0)
    assert mixed < 0.1 < near


def made(gamma: float) -> TemporalDifference:
    return TemporalDifference(1, 3, (8,), gamma, lr=1e-3, rate=0.01)


def test_the_target_of_a_last_row_is_its_reward() -> None:
    rows = toy(50, 0)
    gained, ends = reward(rows.scores, rows.labels), session_ends(rows.session)
    target = made(0.9).target(rows.state, rows.scores, gained, ends)
    assert ends.sum() == 10 and torch.equal(target[ends], gained[ends])
    assert (target[~ends] < gained[~ends]).all()


def test_what_follows_matters_with_a_discount_and_without_one_does_not() -> None:
    """Rows change places across sessions: their own states and rewards stay with them."""
    rows, order = toy(50, 0), torch.randperm(50)
    gained, ends, back = (
        reward(rows.scores, rows.labels),
        session_ends(rows.session),
        order.argsort(),
    )
    for gamma, same in ((0.0, True), (0.9, False)):
        td = made(gamma)
        plain = td.target(rows.state, rows.scores, gained, ends)
        moved = td.target(rows.state[order], rows.scores[order], gained[order], ends)[back]
        assert torch.equal(moved, plain) == same


def test_critics_are_never_above_zero() -> None:
    rows = toy(100, 0)
    assert (made(0.9).critics(100 * rows.state, rows.scores) <= 0).all()


def test_states_are_standardised_by_the_first_lesson() -> None:
    rows = toy(510, 0)
    state = torch.cat([3 * rows.state[:, :2] + 7, torch.full((510, 1), 4.0)], 1)
    weighting = CRITICS.build(SETTING)
    for shift in (0.0, 100.0):
        weighting.learn(replace(rows, state=state + shift))
    for critics in (weighting.td.critics, weighting.td.targets):
        torch.testing.assert_close(critics.mean, state.mean(0))
        expected = torch.cat([state[:, :2].std(0, correction=0), torch.ones(1)])
        torch.testing.assert_close(critics.std, expected)


def test_rewards_are_minus_the_log_loss_of_the_action() -> None:
    labels, actions = torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.25])
    assert reward(actions, labels).tolist() == pytest.approx([math.log(0.25), math.log(0.75)])


def test_actions_are_uniform_or_near_the_policy_and_never_certain() -> None:
    policy = torch.tensor([[0.5], [1e-9]]).repeat(2000, 1)
    seen = {
        e: CRITICS.model_copy(update={"explore": e}).build(SETTING).act(policy, 0)
        for e in (0.0, 0.5, 1.0)
    }
    for actions in seen.values():
        assert actions.min() >= LEAST and actions.max() <= 1 - LEAST
        assert (reward(actions, torch.ones_like(actions)) > -9.22).all()
    spread = {e: float(actions[::2].std()) for e, actions in seen.items()}
    assert spread[0.0] == pytest.approx(module.NOISE, rel=0.1)
    assert spread[1.0] == pytest.approx(12**-0.5, rel=0.1)
    assert spread[0.5] == pytest.approx(((module.NOISE**2 + 1 / 12) / 2) ** 0.5, rel=0.1)


def test_every_update_draws_actions_anew() -> None:
    weighting, policy = CRITICS.build(SETTING), torch.full((10, 1), 0.5)
    first, second = (weighting.act(policy, update) for update in range(2))
    assert torch.equal(first, weighting.act(policy, 0)) and not torch.equal(first, second)
    weighting.learn(toy(10, 0))
    assert not torch.equal(first, weighting.act(policy, 0))


def calibration(weighting: RMTL | None) -> float:
    """Mean prediction over mean label of a logistic model that holds the truth, trained with the
    weights of its rows, or with 1 + lambda times what each row did lose."""
    shift = -1.5
    rows = toy(10_000, 77_000, shift)
    w, b = torch.zeros(3, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([w, b], lr=0.05)
    for _ in range(200):
        logits = rows.state @ w + b
        losses = F.binary_cross_entropy_with_logits(logits, rows.labels, reduction="none")
        if weighting is None:
            weights = 1 + 0.7 * losses.detach()
        else:
            weights = weighting(step_of(replace(rows, scores=logits.detach().sigmoid())))
        optimizer.zero_grad()
        (weights * losses / weights.mean()).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return float((rows.state @ w + b).sigmoid().mean() / rows.labels.mean())


def test_critics_leave_calibration_alone_and_realised_losses_do_not() -> None:
    weighting = teach(RMTLConfig(hidden=(32,), updates=1), 500, shift=-1.5)
    assert weighting(step_of(toy(500, 1, -1.5))).std() > 0.1
    assert abs(calibration(weighting) - 1) < 0.02
    assert abs(calibration(None) - 1) > 0.02
