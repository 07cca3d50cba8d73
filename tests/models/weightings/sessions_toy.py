"""Sessions of which everything is known, so that critics can be held to what they should know.

x ~ N(0, I_2), P(y | x) = sigmoid(2 x1 - x2 + shift), a frozen policy that is less sure than that,
and five rows to a session, whose state tells how many are left.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from fulcrum.features.layout import TaskSpec
from fulcrum.models.agents.critics import LEAST
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings import Setting
from fulcrum.models.weightings.rmtl import RMTL, RMTLConfig

SESSION, LESSON = 5, 510
TRUE = torch.tensor([2.0, -1.0, 0.0])
SETTING = Setting((TaskSpec(name="t0", kind="binary"),), state=3, rows=LESSON)


def chance(state: Tensor, shift: float = 0.0) -> Tensor:
    """P(y | x) `(rows, 1)`."""
    return (state @ TRUE + shift).sigmoid()[:, None]


def toy(rows: int, seed: int, shift: float = 0.0) -> Rows:
    """So many rows as the pretrained network sees them."""
    random, place = torch.Generator().manual_seed(seed), torch.arange(rows)
    left = SESSION - 1 - place % SESSION
    state = torch.cat([torch.randn(rows, 2, generator=random), left[:, None]], 1)
    labels = (torch.rand(rows, 1, generator=random) < chance(state, shift)).float()
    policy = chance(state / 2, shift)
    losses = binary_cross_entropy(policy, labels, reduction="none")
    seen = torch.ones(rows, 1, dtype=torch.bool)
    return Rows(state, policy, losses, labels, seen, torch.ones(rows), place // SESSION, place)


def expected_reward(rows: Rows) -> Tensor:
    """Of the policy's own action, `(rows, 1)`."""
    likely, action = chance(rows.state), rows.scores.clamp(LEAST, 1 - LEAST)
    return likely * action.log() + (1 - likely) * (1 - action).log()


def teach(config: RMTLConfig, lessons: int, shift: float = 0.0) -> RMTL:
    """Critics after so many lessons."""
    weighting = config.build(SETTING)
    for lesson in range(lessons):
        weighting.learn(toy(LESSON, lesson, shift))
    weighting.taught()
    return weighting


def step_of(rows: Rows) -> Step:
    """A step that has these rows, and no gradients."""

    def refuse() -> Tensor:
        raise AssertionError("asked for gradients")

    return Step(rows.losses.mean(0), rows.observed.any(0), refuse, lambda: rows)
