"""No bottom of its own: every trunk reads the same fields, straight from the tables."""

from typing import ClassVar, Literal

from torch import Tensor

from fulcrum.features.layout import Layout
from fulcrum.models.bottoms.base import Bottom, BottomConfig
from fulcrum.models.embedding.fields import Fields
from fulcrum.models.embedding.vectors import Vectors


class NoBottomConfig(BottomConfig):
    """The embeddings themselves."""

    source: ClassVar[str] = "the default"
    summary: ClassVar[str] = "all tasks read the same embeddings"
    per_task: ClassVar[bool] = False

    kind: Literal["none"] = "none"

    def build(self, layout: Layout, dim: int, copies: int, attention: bool) -> "NoBottom":
        return NoBottom(layout, dim, copies, attention)


class NoBottom(Bottom):
    """Fields straight from the tables, one set per copy."""

    def __init__(self, layout: Layout, dim: int, copies: int, attention: bool) -> None:
        super().__init__()
        self.fields = Fields(layout, dim, copies, attention)
        self.names = self.fields.names

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        return self.fields(vectors, dense)
