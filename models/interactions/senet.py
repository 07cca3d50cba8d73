"""SENet layer of FiBiNET: every field times a weight that all fields decide.

e_i  (batch, D): field i of F        `models/layers/squeeze.py` gives the weights

    w = SENet(e_1 ... e_F)              (1)-(3)
    v_i = w_i e_i                       (4)
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fulcrum.models.interactions.base import Interaction, InteractionConfig
from fulcrum.models.layers.squeeze import SENet


class SENetConfig(InteractionConfig):
    """A weight per field and row."""

    source: ClassVar[str] = "Huang et al., FiBiNET, RecSys 2019, equations 1-4"
    summary: ClassVar[str] = "a weight per field and row: turns up the fields that matter"

    kind: Literal["senet"] = "senet"
    reduction: int = Field(3, ge=1)
    """The squeezed layer has 1 / `reduction` as many units as there are fields."""

    def build(self, fields: int, dim: int, copies: int) -> "SENetInteraction":
        return SENetInteraction(self, fields, copies)


class SENetInteraction(Interaction):
    """Weights lie between 0 and 2, so that fields keep their scale."""

    def __init__(self, config: SENetConfig, fields: int, copies: int) -> None:
        super().__init__()
        self.copies = copies
        self.senet = SENet(copies, fields, config.reduction)

    def forward(self, fields: Tensor) -> Tensor:
        e = fields.unflatten(1, (self.copies, -1)).transpose(0, 1)
        v = self.senet(e)[..., None] * e
        return v.transpose(0, 1).flatten(1, 2)
