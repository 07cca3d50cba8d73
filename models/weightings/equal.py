"""Equal: every task has weight 1."""

from typing import ClassVar, Literal

from models.weightings.base import Setting, WeightingConfig
from models.weightings.static import Static, StaticConfig


class EqualConfig(WeightingConfig):
    """The plain sum of the task losses."""

    source: ClassVar[str] = "the default of multi-task learning"
    summary: ClassVar[str] = "every task has weight 1"

    method: Literal["equal"] = "equal"

    def build(self, setting: Setting) -> Static:
        return Static(StaticConfig(apply=self.apply), setting)
