"""ConFIG: the update with equal cosines to all task gradients, as long as they agree with it.

    u_t = g_t / ||g_t||        v = unit(pinv(U) 1)        d = (sum_t g_t . v) v

In products, with Ghat those of the u_t, n_t = ||g_t||:

    x = pinv(Ghat) 1      q = sqrt(x^T Ghat x)      w_t = (sum_s n_s (Ghat x)_s / q) x_t / (n_t q)

This file holds the method that the literature calls ConFIG, no configuration.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from fulcrum.models.weightings import solvers
from fulcrum.models.weightings.gradients import GradientWeightingConfig


class ConFIGConfig(GradientWeightingConfig):
    """Conflict-free inverse gradients."""

    source: ClassVar[str] = "Liu, Chu and Thuerey, ConFIG, ICLR 2025, arXiv 2408.11104, equation 2"
    summary: ClassVar[str] = "equal cosines to all gradients"

    method: Literal["config"] = "config"
    normalise: bool = False
    """The length is what tells the method from IMTL-G, whose direction is the same."""

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        x = solvers.equal_cosines(cosines)
        along = cosines @ x
        return (norms @ along) * x / (norms * (x @ along))
