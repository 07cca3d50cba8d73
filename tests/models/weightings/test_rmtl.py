"""RMTL: critics against what they should know, weights of rows, calibration."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.critics import LEAST, TemporalDifference, reward, session_ends
from models.step import Rows
from models.weightings import Setting
from models.weightings.rmtl import RMTL, RMTLConfig
from models.weightings.rmtl_mc import RMTLMC, RMTLMCConfig, discounted
from models.weightings.static import StaticConfig
from tests.models.conftest import make_layout, random_batch
from tests.models.contract import binary_tasks, make_network
from tests.models.debug import debug_model
from tests.models.weightings.contract import COURSE, WeightingContract
from tests.models.weightings.course import Course, follow

SESSION = 5
TRUE = torch.tensor([2.0, -1.0, 0.0])
"""P(y | x) = sigmoid(2 x1 - x2), x ~ N(0, I); the third number is how many rows are left."""


class RowContract(WeightingContract):
    """A weight for each row, normalised over rows and not over tasks."""

    masks: ClassVar[bool] = False

    def test_a_task_that_is_absent_does_not_disturb_the_others(self) -> None:
        others = [0, 2]
        here, there = self.taught(), self.taught()
        seen, plain = here(COURSE.without(1).step(10)), there(COURSE.step(10))
        self.equal(seen[:, others], plain[:, others])

    def test_a_single_task_is_trained_plainly_or_refused(self) -> None:
        course = Course(tasks=(0,))
        weights = follow(self.make(course), course, range(3))
        self.equal(weights.mean(1), torch.ones(3, 1))

    def test_the_seed_decides(self) -> None:
        first, second = (follow(self.taught(), COURSE, range(3)) for _ in range(2))
        assert torch.equal(first, second)

    def taught(self) -> RMTL | RMTLMC:
        weighting = self.make()
        assert isinstance(weighting, RMTL | RMTLMC)
        for lesson in range(weighting.lessons(4)):
            weighting.learn(COURSE.rows(lesson))
        weighting.taught()
        return weighting


class TestRMTL(RowContract):
    equivariant: ClassVar[bool] = False

    def config(self) -> RMTLConfig:
        return RMTLConfig(hidden=(8,), epochs=2)


class TestRMTLMC(RowContract):
    def config(self) -> RMTLMCConfig:
        return RMTLMCConfig()


def toy(rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, labels, an under-confident policy, session ends of sessions of five rows."""
    random = torch.Generator().manual_seed(seed)
    left = SESSION - 1 - torch.arange(rows) % SESSION
    x = torch.cat([torch.randn(rows, 2, generator=random), left[:, None]], 1)
    chance = (x @ TRUE).sigmoid()
    labels = (torch.rand(rows, generator=random) < chance).float()[:, None]
    policy = (0.5 * x @ TRUE).sigmoid()[:, None]
    return x, labels, policy, session_ends(torch.arange(rows) // SESSION)


def teach(gamma: float, updates: int) -> RMTL:
    """Critics of the toy, by lessons of 512 rows."""
    config = RMTLConfig(gamma=gamma, hidden=(64, 64), updates=1)
    weighting = config.build(Setting(binary_tasks(1), state=3, rows=512))
    for lesson in range(updates):
        x, labels, policy, _ = toy(510, lesson)
        observed = torch.ones(510, 1) > 0
        ones, session = torch.ones(510), torch.arange(510) // SESSION
        weighting.learn(
            Rows(x, policy, torch.zeros(510, 1), labels, observed, ones, session, session)
        )
    return weighting


def expected_reward(x: Tensor, policy: Tensor) -> Tensor:
    chance, a = (x @ TRUE).sigmoid()[:, None], policy.clamp(LEAST, 1 - LEAST)
    return chance * a.log() + (1 - chance) * (1 - a).log()


def test_without_a_future_critics_know_the_expected_reward() -> None:
    x, _, policy, _ = toy(1000, 10_000)
    q = teach(0.0, 1500).td.critics(x, policy)
    assert (q - expected_reward(x, policy)).abs().mean() < 0.1


@pytest.mark.slow
def test_with_a_future_critics_know_the_return() -> None:
    """r + gamma c (1 - gamma^m) / (1 - gamma), m rows left and c the mean reward."""
    gamma = 0.9
    x, _, policy, _ = toy(5000, 10_000)
    reached = teach(gamma, 3000).td.critics(x, policy)
    now = expected_reward(x, policy)
    following = (1 - gamma ** x[:, 2:]) / (1 - gamma)
    expected = now + gamma * now.mean() * following
    assert (reached - expected).abs().mean() < 0.15
    assert torch.corrcoef(torch.cat([reached, expected], 1).T)[0, 1] > 0.95


@pytest.mark.slow
def test_the_best_action_is_the_true_chance() -> None:
    """Also far from the under-confident policy, since half of the actions are uniform."""
    x, _, _, _ = toy(500, 10_000)
    grid = torch.linspace(0.01, 0.99, 99)
    critics = teach(0.0, 3000).td.critics
    q = torch.stack([critics(x, torch.full((500, 1), float(a)))[:, 0] for a in grid], 1)
    assert (grid[q.argmax(1)] - (x @ TRUE).sigmoid()).abs().mean() < 0.1


def made(gamma: float) -> TemporalDifference:
    torch.manual_seed(0)
    return TemporalDifference(1, 3, (8,), gamma, lr=1e-3, rate=0.01)


def test_the_target_of_a_last_row_is_its_reward() -> None:
    x, labels, policy, ends = toy(50, 0)
    gained = reward(policy, labels)
    target = made(0.9).target(x, policy, gained, ends)
    torch.testing.assert_close(target[ends], gained[ends])
    assert not torch.isclose(target[~ends], gained[~ends]).any()


def test_what_follows_matters_with_a_discount_and_without_one_does_not() -> None:
    """Rows change places across sessions: their own states and rewards stay with them."""
    x, labels, policy, ends = toy(50, 0)
    gained, order = reward(policy, labels), torch.randperm(50)
    back = order.argsort()
    for gamma, same in ((0.0, True), (0.9, False)):
        td = made(gamma)
        plain = td.target(x, policy, gained, ends)
        moved = td.target(x[order], policy[order], gained[order], ends)[back]
        assert torch.allclose(moved, plain) == same


def test_critics_are_never_above_zero() -> None:
    x, _, policy, _ = toy(100, 0)
    assert (made(0.9).critics(100 * x, policy) <= 0).all()


def test_rewards_are_minus_the_log_loss_of_the_action() -> None:
    labels, actions = torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.25])
    assert reward(actions, labels).tolist() == pytest.approx([math.log(0.25), math.log(0.75)])


def test_returns_are_discounted_to_the_end_of_a_session() -> None:
    rewards = torch.tensor([[-1.0], [-2.0], [-4.0], [-8.0]])
    ends = session_ends(torch.tensor([7, 7, 7, 9]))
    assert ends.tolist() == [False, False, True, True]
    expected = [-1 - 2 / 2 - 4 / 4, -2 - 4 / 2, -4.0, -8.0]
    assert discounted(rewards, ends, 0.5)[:, 0].tolist() == expected


def test_a_critic_goes_with_the_returns_that_happened() -> None:
    """The oracle holds each row's own noise, so the correlation is far from 1; with critics that
    were not taught it is about 0."""
    x, labels, policy, ends = toy(5000, 10_000)
    returns = discounted(reward(policy, labels), ends, 0.0)
    q = teach(0.0, 800).td.critics(x, policy)
    assert torch.corrcoef(torch.cat([q, returns], 1).T)[0, 1] > 0.3


@pytest.mark.parametrize("config", [RMTLConfig(strength=0.0), RMTLMCConfig(strength=0.0)])
def test_no_strength_is_plain_training_bit_for_bit(config: RMTLConfig | RMTLMCConfig) -> None:
    layout, seen = make_layout(binary_tasks(3)), []
    for weighting in (StaticConfig(), config):
        torch.manual_seed(0)
        network = make_network(layout, debug_model("mmoe"), weighting)
        batch = random_batch(layout, 16)
        network(batch)[0].backward()
        seen.append({n: p.grad for n, p in network.named_parameters()})
    for name, gradient in seen[0].items():
        assert torch.equal(gradient, seen[1][name]), name


def test_weights_are_at_least_one_before_and_have_mean_one_after() -> None:
    raw = RMTLConfig(hidden=(8,), normalise=False).build(COURSE.setting())
    scaled = RMTLConfig(hidden=(8,)).build(COURSE.setting())
    assert (raw(COURSE.step(0)) >= 1).all()
    weights = scaled(COURSE.step(0))
    torch.testing.assert_close(weights.mean(0), torch.ones(3))
    facts = scaled.facts()
    assert all(facts[f"raw_mean/t{t}"] > 1 for t in range(3))


def test_critics_leave_calibration_alone_and_realised_losses_do_not() -> None:
    """A model that holds the truth, trained with weights from its own predictions: by what a critic
    expects, by what did happen."""
    x, _, _, _ = toy(20_000, 3)
    random = torch.Generator().manual_seed(4)
    labels = (torch.rand(20_000, generator=random) < (x @ TRUE - 1.5).sigmoid()).float()

    def calibration(realised: bool) -> float:
        w, b = torch.zeros(3, requires_grad=True), torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.Adam([w, b], lr=0.05)
        for _ in range(300):
            logit = x @ w + b
            loss = F.binary_cross_entropy_with_logits(logit, labels, reduction="none")
            p = logit.sigmoid().detach()
            truth = (x @ TRUE - 1.5).sigmoid()
            foreseen = -(truth * p.clamp(LEAST).log() + (1 - truth) * (1 - p).clamp(LEAST).log())
            weight = 1 + 0.7 * (loss.detach() if realised else foreseen)
            optimizer.zero_grad()
            (weight * loss / weight.mean()).mean().backward()
            optimizer.step()
        return float((x @ w + b).sigmoid().mean() / labels.mean())

    assert abs(calibration(realised=False) - 1) < 0.02
    assert abs(calibration(realised=True) - 1) > 0.04
