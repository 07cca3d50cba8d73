"""The usual size of each task's loss, for methods that divide by it."""

import torch
from torch import Tensor, nn

from fulcrum.models.step import Step


class Level(nn.Module):
    """Mean loss of every task over the steps that observed it: over all so far, or over the first
    `window` of them, after which it stays.

    A task whose losses were all 0 has nothing to learn, and no level: what is divided by it is 0.
    """

    total: Tensor
    seen: Tensor

    def __init__(self, tasks: int, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("total", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(tasks, dtype=torch.int64))

    def add(self, step: Step) -> None:
        """The losses of a step."""
        counts = step.active if self.window is None else step.active & (self.seen < self.window)
        self.total += step.losses.where(counts, 0.0)
        self.seen += counts

    def mean(self) -> Tensor:
        """`(tasks,)`, 0 where there is none."""
        return self.total / self.seen.clamp(min=1)

    def divide(self, values: Tensor) -> Tensor:
        """`(tasks,)` values over the level."""
        mean = self.mean()
        return torch.where(mean > 0, values / mean, 0.0)

    def reciprocal(self, losses: Tensor, least: float) -> Tensor:
        """`(tasks,)` 1 / L, where a loss counts as no less than a share `least` of its level: a
        batch whose loss happens to be next to 0 has no claim to all of the step."""
        mean = self.mean()
        return torch.where(mean > 0, 1 / losses.maximum(least * mean), 0.0)
