"""An identity between what tasks share and their towers, which scales what comes back."""

from typing import Any

import torch
from torch import Tensor


class HeadScale:
    """Multiplies the gradient that each tower sends down by the weights it holds when backward
    comes; without weights it does nothing.

    The weights are known only after forward, so they are read from here and not from the graph:
    autograd would refuse to have a saved tensor changed.
    """

    def __init__(self) -> None:
        self.weights: Tensor | None = None
        """`(tasks,)` or `(batch, tasks)`."""

    def __call__(self, z: Tensor) -> Tensor:
        """`(batch, tasks, width)`, the same values. A new step begins, whose weights are not known
        yet."""
        self.weights = None
        return self.again(z)

    def again(self, z: Tensor) -> Tensor:
        """The same within a step."""
        scaled: Tensor = _Scale.apply(z, self)
        return scaled


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: HeadScale) -> Tensor:
        ctx.scale = scale
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        weights = ctx.scale.weights
        return gradient if weights is None else gradient * weights[..., None], None
