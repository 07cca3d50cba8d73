"""What every bottom shares: it turns embeddings into the fields that a trunk reads."""

from typing import ClassVar

from torch import Tensor

from fulcrum.features.config import Config
from fulcrum.features.layout import Layout
from fulcrum.models.embedding.vectors import Vectors
from fulcrum.models.part import Part


class BottomConfig(Config):
    """A subclass adds `kind` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum models`."""
    per_task: ClassVar[bool] = True
    """Whether each task gets fields of its own; such a bottom needs tables in a single copy."""

    def build(self, layout: Layout, dim: int, copies: int, attention: bool) -> "Bottom":
        """Make the bottom for fields of width D. `attention` says how histories are pooled where
        the bottom does not read their events itself."""
        raise NotImplementedError


class Bottom(Part):
    """`forward(vectors, dense (batch, numbers)) -> (batch, n · F, D)`, n-major.

    n is the number of copies of the tables, or of tasks where the bottom is `per_task`.
    """

    names: tuple[str, ...]
    """Names of the F fields of one copy or task, in order."""

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        raise NotImplementedError
