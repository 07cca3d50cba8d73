"""No regulariser: the weighted losses as they are."""

from typing import ClassVar, Literal

from fulcrum.models.regularisers.base import RegulariserConfig


class NoRegulariserConfig(RegulariserConfig):
    """Nothing is added and nothing perturbed."""

    source: ClassVar[str] = "the default"
    summary: ClassVar[str] = "the weighted losses as they are"

    kind: Literal["none"] = "none"

    def build(self) -> None:
        return None
