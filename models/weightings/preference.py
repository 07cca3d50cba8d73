"""Preference: fixed shares of the loss, whatever the scale of each task's loss.

    w_t = p_t / mean of L_t over its first N steps

The static weights of a declared preference p: at the start task t has a share p_t / sum_s p_s of
the weighted loss.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.features.errors import nearest
from fulcrum.models.step import Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.level import Level


class PreferenceConfig(WeightingConfig):
    """What is preferred."""

    source: ClassVar[str] = "linear scalarisation of losses over their early level"
    summary: ClassVar[str] = "declared shares of the loss, whatever the scale of each loss"

    method: Literal["preference"] = "preference"
    preference: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Relative share by task; 1 for tasks that are not named."""
    window: int = Field(100, ge=1)
    """N: steps of a task that its level is a mean over."""

    def build(self, setting: Setting) -> "Preference":
        return Preference(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        for task in self.preference:
            if task not in declared.tasks:
                hint = nearest(task, declared.tasks)
                yield ("preference", task), f"there is no task `{task}`{hint}"
        if not any(self.preference.get(task, 1.0) for task in declared.tasks):
            yield ("preference",), "every task has preference 0; expected one above 0"


class Preference(Weighting):
    """In the first N steps of a task its level is the mean so far; then it stays. A task whose
    losses were all 0 so far has weight 0."""

    preference: Tensor

    def __init__(self, config: PreferenceConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.level = Level(len(self.names), config.window)
        shares = [config.preference.get(task, 1.0) for task in self.names]
        preference = torch.tensor(shares, dtype=torch.float64)
        self.register_buffer("preference", preference, persistent=False)

    def weigh(self, step: Step) -> Tensor:
        self.level.add(step)
        return self.level.divide(self.preference)
