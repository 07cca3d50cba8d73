"""Two tasks on one plane: pulling apart, and being the same."""

import math

import pytest
import torch
from torch import Tensor

from fulcrum.models.step import Step
from fulcrum.models.weightings import WEIGHTINGS, Setting, WeightingConfig
from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.models.weightings.nash import NashConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.testing.course import Again
from fulcrum.testing.gradient_weightings import no_rows
from fulcrum.testing.layouts import binary_tasks

DRAWN = {"random", "bandit", "igb_sac", "rmtl", "rmtl_mc"}
"""Methods whose weights are drawn, or are of rows."""


def descend(config: WeightingConfig, gradients: Tensor, steps: int = 20) -> Tensor:
    """Losses `(steps + 1, 2)` of two linear tasks under small steps."""
    weighting = config.build(Setting(binary_tasks(2), epoch=1, steps=steps))
    theta, losses = torch.zeros(2, dtype=torch.float64), []
    for _ in range(steps):
        losses.append(5 + gradients @ theta)
        step = Step(losses[-1], torch.ones(2) > 0, lambda: gradients @ gradients.T, no_rows)
        theta = theta - 0.01 * (weighting(step).double() @ gradients)
    return torch.stack([*losses, 5 + gradients @ theta])


def at(degrees: float, ratio: float) -> Tensor:
    """Two gradients at an angle, the first so many times as long."""
    angle = math.radians(degrees)
    rows = [[ratio, 0.0], [math.cos(angle), math.sin(angle)]]
    return torch.tensor(rows, dtype=torch.float64)


def test_equal_weights_raise_one_task_and_sink_the_other() -> None:
    """At 150 degrees a gradient is overruled by one that is more than 1 / cos 30 as long."""
    losses = descend(EqualConfig(), at(150, ratio=3))
    assert (losses.diff(dim=0)[:, 0] < 0).all() and (losses.diff(dim=0)[:, 1] > 0).all()


@pytest.mark.parametrize("config", [UPGradConfig(), UPGradConfig(unit_rows=True), NashConfig()])
@pytest.mark.parametrize("degrees", [90, 120, 150, 170])
def test_no_step_of_a_safe_method_hurts_a_task(config: WeightingConfig, degrees: float) -> None:
    assert (descend(config, at(degrees, ratio=3)).diff(dim=0) < 1e-9).all()


@pytest.mark.parametrize("method", [name for name in WEIGHTINGS if name not in DRAWN])
def test_two_copies_of_a_task_weigh_the_same(method: str) -> None:
    weighting = WEIGHTINGS[method]().build(Setting(binary_tasks(2), epoch=2, steps=200))
    row = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    products = row.expand(2, 3) @ row.expand(2, 3).T
    for number in range(8):
        losses = torch.full((2,), 2.0 - 0.1 * number, dtype=torch.float64)
        weights = weighting(Step(losses, torch.ones(2) > 0, lambda: products, no_rows))
        after = Again(losses - 0.05)
        after.held_out = lambda number, losses=losses: losses  # type: ignore[method-assign]
        weighting.after_step(after)
        assert weights[0].item() == pytest.approx(weights[1].item(), rel=1e-3), number
