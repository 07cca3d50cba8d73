"""Shared-Bottom: one trunk that every task reads."""

from typing import ClassVar, Literal

from models.trunks.base import TrunkConfig


class SharedBottomConfig(TrunkConfig):
    """One shared trunk, a tower per task."""

    source: ClassVar[str] = "Caruana, Multitask Learning, 1997; MMoE (KDD 2018), equation 1"
    summary: ClassVar[str] = "one trunk for all tasks: cheapest, suffers when tasks conflict"

    architecture: Literal["shared_bottom"] = "shared_bottom"
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units of the trunk."""
