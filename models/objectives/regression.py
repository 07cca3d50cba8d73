"""Regression tasks: squared error on the transformed, standardised label."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fulcrum.features.layout import TaskSpec
from fulcrum.models.objectives.base import TaskObjective
from fulcrum.models.objectives.masked import masked_mean

MOMENTUM = 0.01
"""Share of the newest batch in the running mean of smearing, once a hundred batches were seen."""


class Regression(TaskObjective):
    """Squared error; the score is in the label's own unit.

    Labels arrive in their own unit. With `log1p` the network predicts the mean m of log(1 + label),
    and e^m - 1 lies below the label's mean. The score is s · e^m - 1, where s is the mean of
    (1 + label) / e^m over training rows: Duan, "Smearing estimate", JASA 1983, equation 2.1.
    Departure: s is a running mean over training batches, so it needs no pass of its own.
    Calibration then puts it right on the validation split; the loss is that of m and has no s in
    it.
    """

    mean: Tensor
    std: Tensor
    log: Tensor
    smearing: Tensor
    batches: Tensor

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__(tasks)
        self.register_buffer("mean", torch.tensor([t.mean for t in tasks]), persistent=False)
        self.register_buffer("std", torch.tensor([t.std for t in tasks]), persistent=False)
        log = torch.tensor([t.transform == "log1p" for t in tasks])
        self.register_buffer("log", log, persistent=False)
        self.register_buffer("smearing", torch.ones(len(tasks)))
        self.register_buffer("batches", torch.zeros(len(tasks)))

    def start(self) -> Tensor:
        return torch.zeros(len(self.tasks), 1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        transformed = torch.where(self.log, labels.log1p(), labels)
        return (logits[:, :, 0] - (transformed - self.mean) / self.std) ** 2

    @torch.no_grad()
    def follow(self, logits: Tensor, labels: Tensor, observed: Tensor, weight: Tensor) -> None:
        ratio = torch.where(self.log, (1 + labels) / self._transformed(logits).exp(), 1.0)
        _, mean, active = masked_mean(ratio, observed, weight)
        present = active.float()
        self.batches += present
        share = (1 / self.batches.clamp(min=1)).clamp(min=MOMENTUM) * present
        self.smearing.lerp_(mean, share)

    def score(self, logits: Tensor) -> Tensor:
        transformed = self._transformed(logits)
        value = self.smearing * self.calibrated(transformed).exp() - 1
        return torch.where(self.log, value, transformed)[:, :, None]

    def _transformed(self, logits: Tensor) -> Tensor:
        return logits[:, :, 0] * self.std + self.mean
