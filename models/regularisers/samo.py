"""SAMO: a perturbation shared by all tasks, leaned to each by a guess that needs no backward.

    G0     = gradient of the mean loss
    Ghat_t = (L_t(theta + mu v) - L_t(theta - mu v)) / (2 mu) v        v ~ N(0, I), one for all
    layer by layer:  Ghat_t *= ||G0|| / ||Ghat_t||
    eps_t  = rho (a G0 + (1 - a) Ghat_t) / || . ||        gradient of L_t at theta + eps_t

After the rescaling Ghat_t is v up to its sign, so there are two perturbed points, however many
tasks.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.gramians.base import mean_over_processes
from fulcrum.models.regularisers.base import Look, Regulariser, RegulariserConfig, scaled


class SAMOConfig(RegulariserConfig):
    """A joint global and local perturbation."""

    source: ClassVar[str] = "SAMO, ICCV 2025, arXiv 2507.07883"
    summary: ClassVar[str] = "as f_mtl at two perturbed points, however many tasks; dense part only"

    kind: Literal["samo"] = "samo"
    rho: float = Field(0.05, ge=0)
    """Length of the perturbation."""
    a: float = Field(0.5, ge=0, le=1)
    """Share of the direction that is common to all tasks."""
    mu: float = Field(0.01, gt=0)
    """Step of the finite difference."""

    def build(self) -> "SAMO":
        return SAMO(self)


class SAMO(Regulariser):
    """Costs a backward and four forward passes of the dense part, and another backward through two
    of them."""

    def __init__(self, config: SAMOConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        config, common = self.config, look.gradients(look.losses.mean())
        draws = torch.Generator().manual_seed(look.salt)
        v = {
            name: torch.randn(p.shape, generator=draws).to(p) for name, p in look.parameters.items()
        }
        with torch.no_grad():
            up, down = (
                look.again(look.moved({name: sign * config.mu * d for name, d in v.items()}))
                for sign in (1, -1)
            )
            rises = mean_over_processes(up - down) >= 0
            local = {
                name: scaled({name: d}, float(common[name].norm()))[name] for name, d in v.items()
            }
            points = []
            for sign in (1, -1):
                joint = {
                    n: config.a * g + sign * (1 - config.a) * local[n] for n, g in common.items()
                }
                points.append(scaled(joint, config.rho))
        above, below = (look.again(look.moved(eps)) for eps in points)
        return torch.where(rises, above, below), look.losses.new_zeros(())
