"""AutoInt: fields attend to each other, in several heads, layer by layer.

e_m  field m of F        h  a head of H, d' units wide        W  maps of a layer, without bias

    a_mk^h = softmax over k of ⟨W_Q^h e_m, W_K^h e_k⟩               (5)
    ẽ_m^h  = Σ_k a_mk^h W_V^h e_k                                   (6)
    e_m    ← ReLU([ẽ_m^1 ; ... ; ẽ_m^H] + W_R e_m)                  (7), (8)

After the last layer the field gets what was found: e_m + W_O e_m^last.
"""

from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.interactions.base import Interaction, InteractionConfig
from fulcrum.models.layers.stacked import StackedLinear


class AutoIntConfig(InteractionConfig):
    """Self-attention among fields."""

    source: ClassVar[str] = "Song et al., AutoInt, CIKM 2019, equations 5-8"
    summary: ClassVar[str] = "self-attention among fields: each row chooses which fields meet"

    kind: Literal["autoint"] = "autoint"
    layers: int = Field(2, ge=1)
    """Number of attention layers."""
    heads: int = Field(2, ge=1)
    """Heads H of each layer."""
    units: int = Field(16, ge=1)
    """Width d' of each head."""

    def build(self, fields: int, dim: int, copies: int) -> "AutoInt":
        return AutoInt(self, dim, copies)


class AutoInt(Interaction):
    """Fields have no order here: permuted fields give the permuted output.

    The inner product is not scaled, as in the paper. Departure: the paper reads its logit from the
    H · d' units of the last layer, in AutoInt+ together with the raw fields; here a linear map W_O
    takes those units back to width D and adds them to the field, for the trunk to read both.
    """

    def __init__(self, config: AutoIntConfig, dim: int, copies: int) -> None:
        super().__init__()
        self.copies, self.heads = copies, config.heads
        inner = config.heads * config.units
        self.layers = nn.ModuleList(
            StackedLinear(copies, i, 4 * o, bias=False)
            for i, o in pairwise((dim, *[inner] * config.layers))
        )
        self.out = StackedLinear(copies, inner, dim, bias=False)

    def forward(self, fields: Tensor) -> Tensor:
        e = fields.unflatten(1, (self.copies, -1)).transpose(0, 1)
        copies, rows, f, _ = e.shape
        e = e.flatten(1, 2)
        for layer in self.layers:
            maps = layer(e).view(copies * rows, f, 4, self.heads, -1)
            q, k, v = maps[:, :, :3].permute(2, 0, 3, 1, 4)
            attention = F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)
            e = F.relu(attention + maps[:, :, 3]).reshape(copies, rows * f, -1)
        update = self.out(e).view(copies, rows, f, -1)
        return fields + update.transpose(0, 1).flatten(1, 2)
