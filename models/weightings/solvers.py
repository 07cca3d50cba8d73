"""The one file that speaks to solvers: torchjd's weightings, and quadprog.

Every function maps products `(tasks, tasks)` of trace T, float64, no row zero, to weights
`(tasks,)`. torchjd's defaults hold traps, which `gradients.py` (scale, zero rows) and the settings
here defuse. Each is imported where it is called: torchjd takes a second to load, and a config that
only names a method is checked without it.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchjd.linalg import QuadprogProjector


def tight() -> "QuadprogProjector":
    """torchjd's default regulariser, 1e-4 of the trace, lets UPGrad's update conflict with tasks
    whose gradients are some thirty times smaller than others'."""
    from torchjd.linalg import QuadprogProjector

    return QuadprogProjector(norm_eps=1e-30, reg_eps=1e-12)


def upgrad(products: Tensor) -> Tensor:
    """Mean of the tasks' gradients, each projected onto the cone that hurts no task."""
    from torchjd.aggregation import UPGradWeighting

    return UPGradWeighting(projector=tight())(products)


def dualproj(products: Tensor) -> Tensor:
    """The mean gradient, projected onto the cone that hurts no task."""
    from torchjd.aggregation import DualProjWeighting

    return DualProjWeighting(projector=tight())(products)


def mgda(products: Tensor) -> Tensor:
    """The shortest vector in the convex hull, as the quadratic program that it is: torchjd's
    Frank-Wolfe stops far from it, or takes 20,000 iterations."""
    from quadprog import solve_qp

    tasks = len(products)
    constraints = np.hstack([np.ones((tasks, 1)), np.eye(tasks)])
    bounds = np.concatenate([[1.0], np.zeros(tasks)])
    strictly = products.numpy() + 1e-12 * np.eye(tasks)
    return torch.from_numpy(solve_qp(strictly, np.zeros(tasks), constraints, bounds, meq=1)[0])


def cagrad(products: Tensor, c: float) -> Tensor:
    """Best for the worst task within a ball around the mean gradient."""
    from torchjd.aggregation import CAGradWeighting

    return CAGradWeighting(c=c, norm_eps=1e-12)(products)


def pcgrad(products: Tensor, random: torch.Generator) -> Tensor:
    """Conflicting parts removed pair by pair, in random order; the library sums over tasks, here
    it is the mean. It draws from torch's own generator, which is put back."""
    from torchjd.aggregation import PCGradWeighting

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.initial_seed())
        return PCGradWeighting()(products) / len(products)


def imtl_g(products: Tensor) -> Tensor:
    """Equal projections on all gradients of unit length; may be negative."""
    from torchjd.aggregation import IMTLGWeighting

    return IMTLGWeighting()(products)


def fairgrad(products: Tensor, alpha: float) -> Tensor:
    """The solution of G w = w^(-1/alpha)."""
    from torchjd.aggregation import FairGradWeighting

    return FairGradWeighting(alpha=alpha)(products)


def aligned(products: Tensor, scale: Literal["min", "median", "rmse"]) -> Tensor:
    """Gradients turned into an orthogonal system of equal lengths, then averaged."""
    from torchjd.aggregation import AlignedMTLWeighting

    return AlignedMTLWeighting(scale_mode=scale)(products)
