"""Regression tasks: squared error on the transformed, standardised label."""

from collections.abc import Sequence

import torch
from torch import Tensor

from features.layout import TaskSpec
from models.objectives.base import TaskObjective


class Regression(TaskObjective):
    """Squared error; the score is in the label's own unit.

    Labels arrive in their own unit. With `log1p` the score is exp of the predicted mean of
    log(1 + label), minus 1: nearer to the label's median than to its mean.
    """

    mean: Tensor
    std: Tensor
    log: Tensor

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__(tasks)
        self.register_buffer("mean", torch.tensor([t.mean for t in tasks]), persistent=False)
        self.register_buffer("std", torch.tensor([t.std for t in tasks]), persistent=False)
        log = torch.tensor([t.transform == "log1p" for t in tasks])
        self.register_buffer("log", log, persistent=False)

    def start(self) -> Tensor:
        return torch.zeros(len(self.tasks), 1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        transformed = torch.where(self.log, labels.log1p(), labels)
        return (logits[:, :, 0] - (transformed - self.mean) / self.std) ** 2

    def score(self, logits: Tensor) -> Tensor:
        transformed = logits[:, :, 0] * self.std + self.mean
        return torch.where(self.log, transformed.expm1(), transformed)[:, :, None]
