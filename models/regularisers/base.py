"""What every regulariser shares: it stands beside the weighting and changes what goes backward.

T  tasks        theta  the dense parameters, from the fields' own to the towers'

Tables update themselves within backward and cannot be moved and put back, so whatever is perturbed
here is the dense part alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fulcrum.features.config import Config
from fulcrum.models.gramians.base import mean_over_processes


@dataclass(frozen=True)
class Look:
    """A training step at the point where its weights are known."""

    losses: Tensor
    """`(T,)` this process's share, row weights taken in unless it is the towers that weigh."""
    total: Tensor
    """`()` the weighted sum of the losses, wherever weights enter the step."""
    fields: Tensor
    """`(batch, F, D)` what the trunk reads."""
    parameters: Mapping[str, Tensor]
    """theta, by name."""
    shared: Mapping[str, Tensor]
    """Those below the towers."""
    again: Callable[[Mapping[str, Tensor]], Tensor]
    """`losses` at another theta: the same rows, tables, dropout masks; batch norm follows
    nothing."""
    salt: int
    """Of what is drawn: the number of the step."""

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """Of a loss with respect to theta, over all processes, detached."""
        gradients = torch.autograd.grad(
            loss, list(self.parameters.values()), retain_graph=True, materialize_grads=True
        )
        flat = mean_over_processes(torch.cat([g.flatten() for g in gradients]))
        sizes = [g.numel() for g in gradients]
        parts = [p.view_as(g) for p, g in zip(flat.split(sizes), gradients, strict=True)]
        return dict(zip(self.parameters, parts, strict=True))

    def moved(self, by: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """theta + eps as a function of theta: a gradient taken there arrives at theta."""
        return {name: p + by[name] if name in by else p for name, p in self.parameters.items()}


class RegulariserConfig(Config):
    """A subclass adds `kind` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line."""

    def build(self) -> "Regulariser | None":
        """Make the regulariser; None for none."""
        raise NotImplementedError


class Regulariser(nn.Module):
    """`forward(look) -> (losses (T,), extra ())`: the losses to be weighted, and a term added to
    their weighted sum. It holds no parameters and no state."""

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def scaled(direction: Mapping[str, Tensor], rho: float) -> dict[str, Tensor]:
    """The direction at length rho; zero stays zero."""
    length = torch.stack([d.square().sum() for d in direction.values()]).sum().sqrt()
    factor = rho / length.clamp(min=1e-30)
    return {name: d * factor for name, d in direction.items()}
