"""Solvers: quadprog, Clarabel, torchjd's PCGrad, and Newton's method.

T  tasks    C  cosines `(T, T)` of the task gradients    n  their lengths `(T,)`, of mean square 1

Every function maps C and n, float64, to weights `(T,)` of which the common factor is free unless
its method says otherwise. What is solved is always the problem of unit gradients: with w = v / n,
v_t is the length that task t has in the update. On the products G = N C N themselves a solver sees
only the longest gradients, and lengths may differ by many powers of ten. Solvers are imported where
they are called: they take a second to load, and a config that only names a method is checked
without them.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

SINGULAR = 1e-10
"""Eigenvalues of C below are none: of equal or opposite gradients they are rounding."""
LONGEST = 100.0
"""Times the length that a task may have in an update of `fairgrad` that the longest would have
without conflicts. Opposite gradients would have an infinite one."""
NEWTON, CONVERGED = 100, 1e-9
"""Steps at most, and the largest relative change in the last."""


def upgrad(cosines: Tensor, norms: Tensor) -> Tensor:
    """Mean of the tasks' gradients, each projected onto the cone that hurts no task. The projection
    of g_t is n_t times that of its unit vector."""
    return norms @ projections(torch.eye(len(norms)), cosines) / (norms * len(norms))


def dualproj(cosines: Tensor, norms: Tensor) -> Tensor:
    """The mean gradient, projected onto the cone that hurts no task."""
    return projections(norms[None], cosines)[0] / (norms * len(norms))


def projections(lengths: Tensor, cosines: Tensor) -> Tensor:
    """`(k, T)` lengths of the unit gradients in k updates to those in the nearest updates that hurt
    no task. torchjd's default regulariser, 1e-4 of the trace, lets an update conflict."""
    from torchjd.linalg import QuadprogProjector

    project = QuadprogProjector(norm_eps=1e-30, reg_eps=SINGULAR)
    return project(lengths.double(), cosines)  # type: ignore[arg-type]


def mgda(cosines: Tensor, norms: Tensor) -> Tensor:
    """The shortest vector in the convex hull, as the quadratic program that it is: min v^T C v over
    v >= 0 with sum v / n = 1. torchjd's Frank-Wolfe stops far from it, or takes 20,000
    iterations."""
    from quadprog import solve_qp

    tasks = len(norms)
    constraints = np.hstack([(norms.min() / norms).numpy()[:, None], np.eye(tasks)])
    bounds = np.concatenate([[1.0], np.zeros(tasks)])
    strictly = cosines.numpy() + SINGULAR * np.eye(tasks)
    lengths = solve_qp(strictly, np.zeros(tasks), constraints, bounds, meq=1)[0]
    return torch.from_numpy(lengths) / norms


def cagrad(cosines: Tensor, norms: Tensor, c: float) -> Tensor:
    """Best for the worst task within a ball around the mean gradient g_0: with d = g_0 + r e, where
    r = c ||g_0||, and a_t = n_t / min n,

        max tau   over ||e|| <= 1   with   u_t · (g_0 + r e) >= tau / a_t

    whose multipliers are lengths of the unit gradients u_t in e. Where those cancel, gradients
    oppose each other, no update serves all and it is the mean."""
    import clarabel
    from scipy import sparse

    tasks = len(norms)
    values, vectors = torch.linalg.eigh(cosines)
    units = (vectors * values.clamp(min=0).sqrt()).numpy()
    mean = norms.numpy() @ units / tasks
    radius = c * np.linalg.norm(mean)
    plain = torch.full_like(norms, 1 / tasks)
    if not radius:
        return plain
    tall = np.zeros((2 * tasks + 1, tasks + 1))
    tall[:tasks, :tasks], tall[:tasks, tasks] = -units, (norms.min() / norms).numpy() / radius
    tall[tasks + 1 :, :tasks] = -np.eye(tasks)
    right = np.concatenate([units @ mean / radius, [1.0], np.zeros(tasks)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix((tasks + 1, tasks + 1)),
        -np.eye(tasks + 1)[tasks],
        sparse.csc_matrix(tall),
        right,
        [clarabel.NonnegativeConeT(tasks), clarabel.SecondOrderConeT(tasks + 1)],
        settings,
    ).solve()
    lengths = np.clip(np.array(solution.z[:tasks]), 0, None)
    length = np.linalg.norm(lengths @ units)
    if not length > 1e-6 * lengths.sum():
        return plain
    return plain + torch.from_numpy(lengths * (radius / length)) / norms


def pcgrad(cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
    """Conflicting parts removed pair by pair, in random order; the library sums over tasks, here
    it is the mean. It adds what is of one size, so lengths do no harm, and draws from torch's own
    generator, which is put back."""
    from torchjd.aggregation import PCGradWeighting

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.initial_seed())
        return PCGradWeighting()(cosines * torch.outer(norms, norms)) / len(norms)


def equal_cosines(cosines: Tensor) -> Tensor:
    """Lengths of the unit gradients in an update that has one and the same cosine with all: of
    IMTL-G and ConFIG. They may be negative; all are 0 where no update has."""
    lengths = torch.linalg.pinv(cosines, rtol=SINGULAR, hermitian=True).sum(1)
    return lengths.where(lengths.abs() > SINGULAR, 0.0)


def fairgrad(cosines: Tensor, norms: Tensor, alpha: float) -> Tensor:
    """The solution of G w = w^(-1/alpha): with p = 1 - 1/alpha, the least point of

        v^T C v / 2 - sum_t (v_t / n_t)^p / p      over 0 < v <= bound      (log v_t where p = 0)

    by Newton's method with projection (Bertsekas, SIAM J. Control Optim. 20(2), 1982), from what it
    would be without conflicts. A third derivative is at most 1 + 1/alpha times the second over v_t,
    which bounds the step. The method is the same in every unit of every v_t; SciPy's minimisers and
    solvers of equations are not, and stop far away where lengths differ by 10^8."""
    c, n = cosines.numpy() + 1e-12 * np.eye(len(norms)), norms.numpy()
    claims, v = n ** (1 / alpha - 1), n ** ((1 - alpha) / (1 + alpha))
    bound = LONGEST * v.max()
    for _ in range(NEWTON):
        pull = claims * v ** (-1 / alpha)
        slope = c @ v - pull
        free = (v < bound) | (slope > 0)
        change = np.zeros_like(v)
        curvature = c[free][:, free] + np.diag((pull / v)[free] / alpha)
        change[free] = np.linalg.solve(curvature, slope[free]) / v[free]
        largest = abs(change).max()
        v = np.minimum(v * (1 - change / (1 + (1 + 1 / alpha) * largest)), bound)
        if largest < CONVERGED:
            break
    return torch.from_numpy(v) / norms


def aligned(cosines: Tensor, norms: Tensor, scale: Literal["min", "median", "rmse"]) -> Tensor:
    """Gradients turned into an orthogonal system of equal lengths, then averaged. The singular
    values are those of the gradients, which have half the powers of ten of their products'."""
    values, vectors = torch.linalg.eigh(cosines)
    live = values > SINGULAR
    gradients = norms[:, None] * vectors[:, live] * values[live].sqrt()
    u, s, _ = torch.linalg.svd(gradients, full_matrices=False)
    common = {"min": s.min(), "median": s.median(), "rmse": s.square().mean().sqrt()}[scale]
    return common * (u / s) @ u.mean(0)
