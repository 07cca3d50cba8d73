"""Static: the weights that the YAML states."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.features.errors import nearest
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig


class StaticConfig(WeightingConfig):
    """Fixed weights, normalised to sum to the number of tasks."""

    source: ClassVar[str] = "linear scalarisation; the control of every weighting paper"
    summary: ClassVar[str] = "fixed weights, equal unless stated: the control"

    method: Literal["static"] = "static"
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Relative weight by task; 1 for tasks that are not named."""

    def build(self, setting: Setting) -> "Static":
        return Static(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        for task in self.weights:
            if task not in declared.tasks:
                yield ("weights", task), f"there is no task `{task}`{nearest(task, declared.tasks)}"
        if not any(self.weights.get(task, 1.0) for task in declared.tasks):
            yield ("weights",), "every task has weight 0; expected one above 0"


class Static(Weighting):
    """The same weights at every step."""

    fixed: Tensor

    def __init__(self, config: StaticConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        relative = torch.tensor([config.weights.get(task, 1.0) for task in self.names])
        fixed = relative * (len(self.names) / relative.sum()) if config.normalise else relative
        self.register_buffer("fixed", fixed, persistent=False)

    def forward(self, step: Step) -> Tensor:
        """No loss is looked at, so a GPU is not waited for. A task that is observed nowhere has no
        gradient, whatever its weight."""
        self.steps += 1
        return self.fixed
