"""Count tasks: Poisson deviance of the exponential of the logit."""

import math

import torch
from torch import Tensor

from fulcrum.models.objectives.base import TaskObjective

LEAST_MEAN = 1e-4
"""Towers start no lower, so that a task that never happened can still be learned."""
STEEP = 20.0
"""Logit above which the rate goes on as a line, so that no logit overflows."""


class Count(TaskObjective):
    """Poisson deviance; the score is the rate.

    2 (y log(y / mu) - y + mu) with mu = exp(logit): twice the negative log likelihood above its
    least, so its gradient is that likelihood's, and it is never below 0 (McCullagh and Nelder,
    Generalized Linear Models, 1989, section 2.3). Counts need not be whole.
    """

    def start(self) -> Tensor:
        """The logit of the training split's mean."""
        return torch.tensor([[math.log(max(task.mean, LEAST_MEAN))] for task in self.tasks])

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        low, above = self._parts(logits)
        log_rate = low + above.log1p()
        most = torch.xlogy(labels, labels) - labels
        return 2 * (most - labels * log_rate + low.exp() * (1 + above))

    def score(self, logits: Tensor) -> Tensor:
        low, above = self._parts(logits)
        return (low.exp() * (1 + above))[:, :, None]

    def _parts(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The logit up to `STEEP`, and what lies above."""
        served = self.calibrated(logits[:, :, 0])
        low = served.clamp(max=STEEP)
        return low, served - low
