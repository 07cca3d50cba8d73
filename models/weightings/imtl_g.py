"""IMTL-G: an update with equal projections on all gradients of unit length.

    d . u_t equal for all t        w ~ pinv(G) n = v / n,  v = pinv(C) 1,  n_t = ||g_t||

Departure: the paper has sum w = 1, which turns the update round where the sum is negative; by C,
the cosines, sum v never is, and the scale is that of all methods here (`gradients`). Its weights
may be negative, which trains a task backwards: they are cut at 0, and how many steps had one is
logged.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class IMTLGConfig(GradientWeightingConfig):
    """Every task advances equally."""

    source: ClassVar[str] = "Liu et al., Impartial Multi-task Learning, ICLR 2021, equation 6"
    summary: ClassVar[str] = "equal projections on all gradients"

    method: Literal["imtl_g"] = "imtl_g"

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        return solvers.equal_cosines(cosines) / norms
