"""F-MTL: every task's gradient is taken where that task's own loss is worst nearby.

    eps_t = rho g_t / ||g_t||        shared and task part each with its own norm
    gS_t  = gradient of L_t at theta + eps_t

The step is the weighted sum of gS_t, the variant "a-" of the paper, with the weights that the
weighting found at theta. Departure: the paper's main form aggregates g_t and gS_t - g_t apart.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.regularisers.base import Look, Regulariser, RegulariserConfig
from fulcrum.models.regularisers.sam import perturbation


class FMTLConfig(RegulariserConfig):
    """A perturbation for each task."""

    source: ClassVar[str] = "Phan et al., F-MTL, ICCV 2025, arXiv 2211.13723"
    summary: ClassVar[str] = "flat minima of every task's own loss, dense part only"

    kind: Literal["f_mtl"] = "f_mtl"
    rho: float = Field(0.05, ge=0)
    """Length of each perturbation."""
    adaptive: bool = False
    """Perturb each parameter by its size."""

    def build(self) -> "FMTL":
        return FMTL(self)


class FMTL(Regulariser):
    """Costs T forward and T backward passes of the dense part."""

    def __init__(self, config: FMTLConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        losses = []
        for t, loss in enumerate(look.losses):
            gradients = look.gradients(loss)
            eps: dict[str, Tensor] = {}
            parts = (look.shared.keys(), look.parameters.keys() - look.shared.keys())
            for part in filter(None, parts):
                part_gradients = {name: g for name, g in gradients.items() if name in part}
                eps |= perturbation(look, part_gradients, self.config.rho, self.config.adaptive)
            losses.append(look.again(look.moved(eps))[t])
        return torch.stack(losses), look.losses.new_zeros(())
