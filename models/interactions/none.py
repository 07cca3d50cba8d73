"""No interaction before the trunk."""

from typing import ClassVar, Literal

from torch import Tensor

from fulcrum.models.interactions.base import Interaction, InteractionConfig


class NoInteractionConfig(InteractionConfig):
    """Fields go to the trunk as they are."""

    source: ClassVar[str] = "the default"
    summary: ClassVar[str] = "fields go to the trunk as they are"

    kind: Literal["none"] = "none"

    def build(self, fields: int, dim: int, copies: int) -> "NoInteraction":
        return NoInteraction()


class NoInteraction(Interaction):
    """The identity."""

    def forward(self, fields: Tensor) -> Tensor:
        return fields
