"""Linear scalarisation towards a declared preference.

p_t  how much task t shall count        b_t  its mean loss over the first window

    w_t ~ p_t / b_t        w_t ~ p_t before b is known

`static` multiplies losses, so a task with a large loss takes more than its weight says. Here a
preference of 2 against 1 means twice the relative improvement.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor, tensor
from torch import float64 as double

from features.errors import nearest
from models.step import Step
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from models.weightings.window import WindowMean


class PreferenceConfig(WeightingConfig):
    """What each task shall count, whatever the scale of its loss."""

    source: ClassVar[str] = "linear scalarisation of losses over their start"
    summary: ClassVar[str] = "a declared preference over relative improvements"

    method: Literal["preference"] = "preference"
    prefer: dict[str, PositiveFloat] = {}
    """Preference by task; 1 for tasks that are not named."""
    window: int | None = Field(None, ge=1)
    """Steps whose mean losses are b; an epoch when left out."""

    def build(self, setting: Setting) -> "Preference":
        return Preference(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        for task in self.prefer:
            if task not in declared.tasks:
                yield ("prefer", task), f"there is no task `{task}`{nearest(task, declared.tasks)}"


class Preference(Weighting):
    """Fixed once the first window is over."""

    def __init__(self, config: PreferenceConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.window = config.window or setting.epoch
        self.start = WindowMean(len(self.names))
        self.preference = tensor([config.prefer.get(t, 1.0) for t in self.names], dtype=double)

    def weigh(self, step: Step) -> Tensor:
        if int(self.steps) < self.window:
            self.start.add(step)
            return self.preference
        start = self.start.mean.where(self.start.count > 0, 1.0)
        return self.preference / start.clamp(min=1e-12)
