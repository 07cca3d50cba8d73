"""Binary tasks: log loss on the logit of the task's whole chain."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from features.layout import TaskSpec
from models.objectives.base import TaskObjective
from models.objectives.chain import joint_logits, parents

RATE_BOUND = 1e-4
"""Rates are kept this far from 0 and 1, so that no tower starts saturated."""


class Binary(TaskObjective):
    """Log loss; the score is the probability of the task, chain included."""

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__(tasks)
        self.parents = parents(self.tasks)

    def start(self) -> Tensor:
        """The logit of the training split's rate; of `rate / rate of given` for a chained task."""
        logits = []
        for task, parent in zip(self.tasks, self.parents, strict=True):
            rate = 0.5 if task.rate is None else task.rate
            if parent is not None and task.rate is not None:
                rate /= max(self.tasks[parent].rate or 1.0, RATE_BOUND)
            rate = min(max(rate, RATE_BOUND), 1 - RATE_BOUND)
            logits.append([math.log(rate / (1 - rate))])
        return torch.tensor(logits)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        joint = joint_logits(logits[:, :, 0], self.parents)
        return F.binary_cross_entropy_with_logits(joint, labels, reduction="none")

    def score(self, logits: Tensor) -> Tensor:
        return joint_logits(logits[:, :, 0], self.parents).sigmoid()[:, :, None]
