"""GradVac: as PCGrad, but every pair of gradients is pushed up to its usual cosine, not to 0.

q_ij  running mean of the cosine of i and j        phi  the present one

    if phi < q:
        v_i += ||v_i|| (q sqrt(1 - phi^2) - phi sqrt(1 - q^2)) / (||g_j|| sqrt(1 - q^2)) g_j
    q <- (1 - beta) q + beta phi

With q = 0 it is PCGrad. Departure: the paper sums where this takes the mean.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.weightings.base import Setting
from fulcrum.models.weightings.gradients import GradientWeighting, GradientWeightingConfig


class GradVacConfig(GradientWeightingConfig):
    """Conflicts are judged by what is usual for a pair of tasks."""

    source: ClassVar[str] = "Wang et al., Gradient Vaccine, ICLR 2021, arXiv 2010.05874, equation 2"
    summary: ClassVar[str] = "pairs of gradients pushed up to their usual cosine"

    method: Literal["gradvac"] = "gradvac"
    beta: float = Field(0.01, gt=0, le=1)
    """Share of the newest cosine in the running mean."""

    def build(self, setting: Setting) -> "GradVac":
        return GradVac(self, setting)


class GradVac(GradientWeighting):
    """Remembers the usual cosine of each pair, of vectors changed so far with gradients."""

    config: GradVacConfig
    usual: Tensor

    def __init__(self, config: GradVacConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.register_buffer("usual", torch.zeros(tasks, tasks, dtype=torch.float64))

    def solve(self, cosines: Tensor, norms: Tensor, present: Tensor) -> Tensor:
        tasks, random = len(norms), self.random()
        products = cosines * torch.outer(norms, norms)
        usual = self.usual[present][:, present].clone()
        mixed = torch.eye(tasks, dtype=norms.dtype)
        for i in range(tasks):
            order = torch.randperm(tasks, generator=random)
            for j in (j for j in order.tolist() if j != i):
                along = mixed[i] @ products
                length = (along @ mixed[i]).clamp(min=0).sqrt()
                phi = (along[j] / (length * norms[j]).clamp(min=1e-300)).clamp(-1, 1)
                q = usual[i, j]
                if phi < q:
                    rest = (1 - q**2).clamp(min=1e-12).sqrt()
                    mixed[i, j] += (
                        length * (q * (1 - phi**2).sqrt() - phi * rest) / (norms[j] * rest)
                    )
                usual[i, j] = (1 - self.config.beta) * q + self.config.beta * phi
        places = present.nonzero()[:, 0]
        self.usual[places[:, None], places] = usual
        return mixed.sum(0) / tasks
