"""PCGrad: gradients that conflict lose the part that conflicts, pair by pair.

    for each t: v = g_t; for the others j in random order: if <v, g_j> < 0: v -= <v, g_j> / G_jj g_j
    d = mean over t of v

Of two tasks none is hurt; of more it may be. Departure: the paper sums where this takes the mean,
so that without conflicts it is the plain mean.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class PCGradConfig(GradientWeightingConfig):
    """Conflicts projected away pair by pair."""

    source: ClassVar[str] = "Yu et al., PCGrad, NeurIPS 2020, arXiv 2001.06782, algorithm 1"
    summary: ClassVar[str] = "conflicting parts removed pair by pair"

    method: Literal["pcgrad"] = "pcgrad"

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.pcgrad(cosines, norms, random)
