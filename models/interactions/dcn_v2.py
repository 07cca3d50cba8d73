"""DCN V2: cross layers, whose polynomial degree in the input grows by one a layer.

x_0  (batch, F · D): the fields side by side        l  a cross layer        ⊙  element by element

    x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l               (1)
    W_l = U_l V_lᵀ                                      (2), with a rank
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.interactions.base import Interaction, InteractionConfig
from fulcrum.models.layers.stacked import StackedLinear


class DCNv2Config(InteractionConfig):
    """Cross layers."""

    source: ClassVar[str] = "Wang et al., DCN V2, WWW 2021, equations 1 and 2"
    summary: ClassVar[str] = "cross layers: explicit products of fields, one degree more a layer"

    kind: Literal["dcn_v2"] = "dcn_v2"
    layers: int = Field(2, ge=1)
    """Number of cross layers: products of up to this many fields and one more."""
    rank: int | None = Field(None, ge=1)
    """Rank of each W; full when left out. A quarter of F · D halves the work."""

    def build(self, fields: int, dim: int, copies: int) -> "DCNv2":
        return DCNv2(self, fields, dim, copies)


class DCNv2(Interaction):
    """The stacked form, x_L in place of the fields; the trunk above it is the deep network."""

    def __init__(self, config: DCNv2Config, fields: int, dim: int, copies: int) -> None:
        super().__init__()
        width, rank = fields * dim, config.rank
        self.copies, self.dim = copies, dim
        self.layers = nn.ModuleList(
            StackedLinear(copies, width, width)
            if rank is None
            else nn.Sequential(
                StackedLinear(copies, width, rank, bias=False),
                StackedLinear(copies, rank, width),
            )
            for _ in range(config.layers)
        )

    def forward(self, fields: Tensor) -> Tensor:
        x0 = x = fields.unflatten(1, (self.copies, -1)).flatten(2).transpose(0, 1)
        for layer in self.layers:
            x = x0 * layer(x) + x
        return x.transpose(0, 1).unflatten(2, (-1, self.dim)).flatten(1, 2)
