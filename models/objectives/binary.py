"""Binary tasks: log loss on the logit."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.models.objectives.base import TaskObjective

RATE_BOUND = 1e-4
"""Rates are kept this far from 0 and 1, so that no tower starts saturated."""


class Binary(TaskObjective):
    """Log loss; the score is a probability. Each task by itself: `models.chains` ties them."""

    def rates(self) -> list[float]:
        """What each task's logit says of a row of which nothing is known."""
        return [0.5 if task.rate is None else task.rate for task in self.tasks]

    def start(self) -> Tensor:
        """The logit of the training split's rate."""
        rates = [min(max(rate, RATE_BOUND), 1 - RATE_BOUND) for rate in self.rates()]
        return torch.tensor([[math.log(rate / (1 - rate))] for rate in rates])

    def joint(self, conditional: Tensor) -> Tensor:
        """The towers' logits to those of what is served: `(batch, tasks) -> (batch, tasks)`."""
        return conditional

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.error(logits, labels)

    def error(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.served(logits), labels, reduction="none")

    def score(self, logits: Tensor) -> Tensor:
        return self.served(logits).sigmoid()[:, :, None]

    def served(self, logits: Tensor) -> Tensor:
        """Logits of the scores, `(batch, tasks, outputs) -> (batch, tasks)`."""
        return self.calibrated(self.joint(logits[:, :, 0]))
