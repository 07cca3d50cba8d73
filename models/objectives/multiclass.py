"""Multi-class tasks: cross-entropy over the classes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fulcrum.models.objectives.base import TaskObjective


class Multiclass(TaskObjective):
    """Cross-entropy; the score is a probability per class."""

    @property
    def outputs(self) -> int:
        return len(self.tasks[0].classes)

    def start(self) -> Tensor:
        return torch.zeros(len(self.tasks), self.outputs)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.transpose(1, 2), labels.long(), reduction="none")

    def score(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)
