"""What the methods share that look at the products of task gradients.

G_st = g_s · g_t of the active tasks, see `models.gramians`. A method solves for weights on G scaled
to trace T, in float64: solvers hold absolute thresholds, and with gradients as small as those of a
recommender's tables several of them would silently give equal weights, or none.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.gramians import GramianChoice, GramianConfig, SketchConfig
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig


class GradientWeightingConfig(WeightingConfig):
    """A subclass adds `method`, its own settings, and `solve`."""

    family: ClassVar[Literal["losses", "gradients", "agent"]] = "gradients"
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

    def solve(self, products: Tensor, random: torch.Generator) -> Tensor:
        """Weights `(tasks,)` from products `(tasks, tasks)` of trace T, float64, no row of them
        zero. Whatever is drawn comes from `random`."""
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
            if present.any():
                self._renew(products, present)
        return self.latest

    def solve(self, products: Tensor, present: Tensor) -> Tensor:
        """Weights of the tasks that are `present` `(tasks,)` from their products, as
        `GradientWeightingConfig.solve`; overridden where a method remembers something."""
        return self.config.solve(products, self.random())

    def _renew(self, products: Tensor, present: Tensor) -> None:
        gramian = products[present][:, present]
        fresh = self.solve(gramian * (len(gramian) / gramian.trace()), present).double()
        if not fresh.isfinite().all():
            return
        if self.config.normalise:
            fresh = fresh * (len(gramian) / fresh.sum().clamp(min=1e-300))
        smooth = self.config.smooth if int(self.steps) else 0.0
        self.latest[present] = smooth * self.latest[present] + (1 - smooth) * fresh

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
