"""One loss in a unit a thousand times smaller: which methods still train the other task."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.weightings import WEIGHTINGS
from tests.models.weightings.course import Course, losses_only

STEPS, ROWS, WIDTH, NOISE, RATE = 400, 64, 4, 2.0, 0.05
METHODS: dict[str, dict[str, Any]] = {
    "equal": {},
    "uncertainty": {"lr": 0.05},
    "imtl_l": {"lr": 0.05},
    "geometric": {},
    "igb": {"window": 50},
    "famo": {"every": 1},
    "preference": {"window": 50},
}


class Again:
    """See `models.step.After`."""

    rate = 1.0

    def __init__(self, losses: Tensor) -> None:
        self.losses = losses

    def again(self) -> Tensor:
        return self.losses

    def held_out(self, number: int) -> Tensor:
        raise AssertionError("asked for validation losses")


def trained(method: str, scale: float) -> Tensor:
    """`(2,)` mean losses in their plain unit, at the end of two linear regressions that want
    different weights of one shared line, whose labels have noise."""
    weighting = WEIGHTINGS[method](**METHODS[method]).build(Course(tasks=(0, 1)).setting(STEPS))
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, WIDTH, generator=random, dtype=torch.float64)
    wanted = torch.tensor([[1.0, 1, 0, 0], [1.0, -1, 0, 0]], dtype=torch.float64)
    noise = NOISE * torch.randn(ROWS, 2, generator=random, dtype=torch.float64)
    labels = inputs @ wanted.T + noise
    line = torch.zeros(WIDTH, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([line], lr=RATE)
    scales = torch.tensor([scale, 1.0], dtype=torch.float64)

    def errors() -> Tensor:
        return ((inputs @ line)[:, None] - labels).square().mean(0)

    for number in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - number / STEPS)
        losses = errors() * scales
        weights = weighting(losses_only(losses))
        optimizer.zero_grad()
        (weights * losses).sum().backward()
        optimizer.step()
        with torch.no_grad():
            weighting.after_step(Again(errors() * scales))
    return errors().detach()


@pytest.mark.parametrize("method", METHODS)
def test_the_scale_of_a_loss(method: str) -> None:
    plain, scaled = trained(method, 1), trained(method, 1_000)
    print(method, plain, scaled, (scaled / plain - 1))
