"""SAM: the gradient is taken where the weighted loss is worst nearby, so that minima are flat.

    g = grad of sum_t w_t L_t at theta        eps = rho g / ||g||
    adaptive:  eps = rho theta^2 g / || |theta| g ||
    the step goes along the gradient at theta + eps

Of the dense part only: tables stay where they are.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.regularisers.base import Look, Regulariser, RegulariserConfig, scaled


class SAMConfig(RegulariserConfig):
    """One perturbation for all tasks."""

    source: ClassVar[str] = "Foret et al., ICLR 2021, arXiv 2010.01412; adaptive: arXiv 2102.11600"
    summary: ClassVar[str] = "flat minima of the weighted loss, dense part only"

    kind: Literal["sam"] = "sam"
    rho: float = Field(0.05, ge=0)
    """Length of the perturbation."""
    adaptive: bool = False
    """Perturb each parameter by its size."""

    def build(self) -> "SAM":
        return SAM(self)


class SAM(Regulariser):
    """Costs a forward and a backward pass of the dense part."""

    def __init__(self, config: SAMConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        gradients = look.gradients(look.total)
        eps = perturbation(look, gradients, self.config.rho, self.config.adaptive)
        return look.again(look.moved(eps)), look.losses.new_zeros(())


@torch.no_grad()
def perturbation(
    look: Look, gradients: dict[str, Tensor], rho: float, adaptive: bool
) -> dict[str, Tensor]:
    """eps for a direction over some of theta."""
    if not adaptive:
        return scaled(gradients, rho)
    sized = {name: look.parameters[name].abs() * g for name, g in gradients.items()}
    return {name: look.parameters[name].abs() * g for name, g in scaled(sized, rho).items()}
