"""The gradient of every task's loss, by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor


def task_gradients(losses: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Gradients `(T, *shape)` of T losses with respect to each tensor, by T partial backward passes
    that end there: whatever lies below, tables included, is not touched."""
    if not tensors:
        return []
    rows = [
        torch.autograd.grad(loss, tensors, retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    return [torch.stack(row) for row in zip(*rows, strict=True)]
