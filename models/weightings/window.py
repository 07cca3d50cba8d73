"""The mean loss of each task over a window of steps."""

import torch
from torch import Tensor, nn

from models.step import Step


class WindowMean(nn.Module):
    """Running means `(tasks,)` float64 over the steps in which a task is active."""

    mean: Tensor
    count: Tensor

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(tasks, dtype=torch.float64))

    def add(self, step: Step) -> None:
        """Take in a step."""
        self.count += step.active
        self.mean += (step.losses - self.mean) * step.active / self.count.clamp(min=1)

    def reset(self) -> None:
        """Begin a new window."""
        self.mean.zero_()
        self.count.zero_()
