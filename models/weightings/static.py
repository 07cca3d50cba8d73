"""Static: the weights that the YAML states."""

from collections.abc import Callable, Collection, Iterator
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from features.errors import nearest
from models.weightings.base import Weighting, WeightingConfig


class StaticConfig(WeightingConfig):
    """Fixed weights, normalised to sum to the number of tasks."""

    source: ClassVar[str] = "linear scalarisation; the control of every weighting paper"
    summary: ClassVar[str] = "fixed weights, equal unless stated: the control"

    method: Literal["static"] = "static"
    weights: dict[str, PositiveFloat] = {}
    """Relative weight by task; 1 for tasks that are not named."""

    def build(self, tasks: tuple[str, ...]) -> "Static":
        return Static(self, tasks)

    def problems(self, tasks: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
        for task in self.weights:
            if task not in tasks:
                yield ("weights", task), f"there is no task `{task}`{nearest(task, tasks)}"


class Static(Weighting):
    """The same weights at every step."""

    fixed: Tensor

    def __init__(self, config: StaticConfig, tasks: tuple[str, ...]) -> None:
        super().__init__()
        relative = torch.tensor([config.weights.get(task, 1.0) for task in tasks])
        fixed = relative * (len(tasks) / relative.sum())
        self.register_buffer("fixed", fixed, persistent=False)

    def forward(self, losses: Tensor, gramian: Callable[[], Tensor]) -> Tensor:
        return self.fixed
