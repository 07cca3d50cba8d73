"""What the methods share that look at the products of task gradients.

G_st = g_s · g_t of the active tasks (`models.gramians`) are taken apart into cosines and lengths:

    G = N C N        N = diag(n),  n_t = ||g_t||, scaled to mean square 1

A method solves on C in float64 and puts the lengths back, see `solvers`: gradients of a
recommender's tables are small, and their lengths may differ by many powers of ten.

Weights are scaled so that their mean is 1, each counted by how free its task is of conflict:

    sum_t f_t w_t = sum_t f_t        f_t = max(1 + min_s C_st, 0.01)

f_t is 1 for a task at right angles to all others, which keeps its weight whatever happens among
those, and close to 0 for one whose gradient is opposed: methods give such tasks large weights, and
with a plain sum the others would hardly be trained. No weight is above 100 T. Departure: papers
leave the scale as it comes, or let weights sum to 1.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.gramians import GramianChoice, GramianConfig, SketchConfig
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig

OPPOSED = 0.01
"""How free of conflict a task counts at least."""


class GradientWeightingConfig(WeightingConfig):
    """A subclass adds `method`, its own settings, and `solve`."""

    family: ClassVar[Literal["losses", "gradients", "agent"]] = "gradients"
    normalise: bool = True
    """Scale the weights to a mean of 1 over the tasks, those in conflict counting less."""
    gramian: GramianChoice = SketchConfig()
    """Where the gradients are taken, and how often."""
    smooth: float = Field(0.0, ge=0, lt=1)
    """Share of the weights before in the new ones: CR-MOGM, Zhou et al., NeurIPS 2022."""

    @property
    def place(self) -> GramianConfig:
        return self.gramian

    def build(self, setting: Setting) -> "GradientWeighting":
        return GradientWeighting(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if len(declared.tasks) == 1:
            yield (
                ("method",),
                "compares the gradients of tasks, and there is one task; expected `static`",
            )

    def solve(self, cosines: Tensor, norms: Tensor, random: torch.Generator) -> Tensor:
        """Weights `(tasks,)` from the cosines `(tasks, tasks)` and lengths `(tasks,)` of the
        gradients, float64, no length zero. Whatever is drawn comes from `random`."""
        raise NotImplementedError


class GradientWeighting(Weighting):
    """Asks for the products every so many steps and keeps the weights between."""

    config: GradientWeightingConfig
    products: Tensor
    latest: Tensor

    def __init__(self, config: GradientWeightingConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.register_buffer("products", torch.zeros(tasks, tasks, dtype=torch.float64))
        self.register_buffer("latest", torch.ones(tasks, dtype=torch.float64))

    def weigh(self, step: Step) -> Tensor:
        if int(self.steps) % self.config.gramian.every == 0:
            products = step.gramian
            # A task without a gradient gives a zero row, which solvers answer with nonsense.
            present = step.active & (products.diagonal() > 0)
            self.products.copy_(products)
            if present.any() and products.isfinite().all():
                self._renew(products, present)
        return self.latest

    def solve(self, cosines: Tensor, norms: Tensor, present: Tensor) -> Tensor:
        """Weights of the tasks that are `present` `(tasks,)`, as `GradientWeightingConfig.solve`;
        overridden where a method remembers something."""
        return self.config.solve(cosines, norms, self.random())

    def scale(self, weights: Tensor, cosines: Tensor) -> Tensor:
        """`()` what to multiply the weights of a look by; overridden where a method has a scale of
        its own."""
        free = freedom(cosines)
        return free.sum() / (free @ weights.clamp(min=0))

    def _renew(self, products: Tensor, present: Tensor) -> None:
        """An answer that is no number, or trains no task, is none: the weights stay."""
        cosines, norms = apart(products[present][:, present])
        fresh = self.solve(cosines, norms, present).double()
        if not (fresh.isfinite().all() and fresh.max() > 0):
            return
        if self.config.normalise:
            fresh = fresh * self.scale(fresh, cosines)
        smooth = self.config.smooth if int(self.steps) else 0.0
        self.latest[present] = smooth * self.latest[present] + (1 - smooth) * fresh

    def _normalised(self, weights: Tensor, active: Tensor) -> Tensor:
        """As they were scaled at the look: that a task is absent from a step is no reason to train
        the others more."""
        return weights

    def facts(self) -> dict[str, float]:
        """Beside the common ones, the smallest cosine between the update and a task's gradient at
        the latest look: below 0 the update hurts that task."""
        norms = self.products.diagonal().sqrt()
        weights = self.latest.clamp(min=0)
        length = (weights @ self.products @ weights).clamp(min=0).sqrt()
        if not length or not norms.any():
            return super().facts()
        along = (self.products @ weights)[norms > 0] / (norms[norms > 0] * length)
        return {**super().facts(), "least_cosine": float(along.min())}


def apart(products: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines `(tasks, tasks)` and lengths `(tasks,)` of mean square 1 from products of gradients
    none of which is zero. Lengths are divided by one after the other: a product of two small ones
    may be no number."""
    norms = products.diagonal().sqrt()
    cosines = (products / norms[:, None] / norms).clamp(-1, 1)
    cosines.fill_diagonal_(1)
    norms = norms / norms.max()
    return cosines, norms / norms.square().mean().sqrt()


def freedom(cosines: Tensor) -> Tensor:
    """`(tasks,)` how free each task is of conflict, from the cosine with the gradient most against
    its own."""
    return (1 + cosines.amin(1).clamp(max=0)).clamp(min=OPPOSED)
