"""The one file that speaks to solvers: torchjd's weightings, and quadprog.

Every function maps products `(tasks, tasks)` of trace T, float64, no row zero, to weights
`(tasks,)`. torchjd's defaults hold traps, which `gradients.py` (scale, zero rows) and the settings
here defuse.
"""

from typing import Literal

import numpy as np
import torch
from quadprog import solve_qp
from torch import Tensor
from torchjd.aggregation import (
    AlignedMTLWeighting,
    CAGradWeighting,
    DualProjWeighting,
    FairGradWeighting,
    IMTLGWeighting,
    PCGradWeighting,
    UPGradWeighting,
)
from torchjd.linalg import QuadprogProjector

TIGHT = QuadprogProjector(norm_eps=1e-30, reg_eps=1e-12)
"""The default regulariser, 1e-4 of the trace, lets UPGrad's update conflict with tasks whose
gradients are some thirty times smaller than others'."""


def upgrad(products: Tensor) -> Tensor:
    """Mean of the tasks' gradients, each projected onto the cone that hurts no task."""
    return UPGradWeighting(projector=TIGHT)(products)


def dualproj(products: Tensor) -> Tensor:
    """The mean gradient, projected onto the cone that hurts no task."""
    return DualProjWeighting(projector=TIGHT)(products)


def mgda(products: Tensor) -> Tensor:
    """The shortest vector in the convex hull, as the quadratic program that it is: torchjd's
    Frank-Wolfe stops far from it, or takes 20,000 iterations."""
    tasks = len(products)
    constraints = np.hstack([np.ones((tasks, 1)), np.eye(tasks)])
    bounds = np.concatenate([[1.0], np.zeros(tasks)])
    strictly = products.numpy() + 1e-12 * np.eye(tasks)
    return torch.from_numpy(solve_qp(strictly, np.zeros(tasks), constraints, bounds, meq=1)[0])


def cagrad(products: Tensor, c: float) -> Tensor:
    """Best for the worst task within a ball around the mean gradient."""
    return CAGradWeighting(c=c, norm_eps=1e-12)(products)


def pcgrad(products: Tensor, random: torch.Generator) -> Tensor:
    """Conflicting parts removed pair by pair, in random order; the library sums over tasks, here
    it is the mean. It draws from torch's own generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.initial_seed())
        return PCGradWeighting()(products) / len(products)


def imtl_g(products: Tensor) -> Tensor:
    """Equal projections on all gradients of unit length; may be negative."""
    return IMTLGWeighting()(products)


def fairgrad(products: Tensor, alpha: float) -> Tensor:
    """The solution of G w = w^(-1/alpha)."""
    return FairGradWeighting(alpha=alpha)(products)


def aligned(products: Tensor, scale: Literal["min", "median", "rmse"]) -> Tensor:
    """Gradients turned into an orthogonal system of equal lengths, then averaged."""
    return AlignedMTLWeighting(scale_mode=scale)(products)
