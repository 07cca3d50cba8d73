"""What every part between tables and towers may add to the loss: a term of its own."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

AUXILIARY = "auxiliary/"
"""Before the name of an auxiliary loss, wherever a step tells of it."""


class AuxiliaryLoss(NamedTuple):
    """A term that guides training beside the losses of the tasks; no task weighting touches it."""

    value: Tensor
    """`()` with its gradient: a mean over this process's rows, which processes average again."""
    weight: float
    """Of the value in the total loss; values are tracked without it."""


class Part(nn.Module):
    """A bottom, an interaction or a trunk."""

    def auxiliary_losses(self) -> Mapping[str, AuxiliaryLoss]:
        """By name, those of the latest `forward` in train mode. A part that has some keeps them in
        train mode only: eval mode is exported."""
        return {}
