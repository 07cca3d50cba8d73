"""MMoE: shared experts, one softmax gate per task."""

from typing import ClassVar, Literal

from pydantic import Field

from models.trunks.base import TrunkConfig


class MMoEConfig(TrunkConfig):
    """Shared experts mixed by a gate per task."""

    source: ClassVar[str] = "Ma et al., Multi-gate Mixture-of-Experts, KDD 2018, equations 6-8"
    summary: ClassVar[str] = (
        "shared experts, one gate per task: tasks choose softly what they share"
    )

    architecture: Literal["mmoe"] = "mmoe"
    experts: int = Field(6, ge=1)
    """Number of experts E."""
    expert: tuple[int, ...] = Field((256, 128), min_length=1)
    """Hidden units of each expert; the last is its output width."""
    gate_bias: bool = True
    """The paper's gate has no bias; public code has one."""
